// Takes universal_checkpoint_info apart.
#include "zero/slice_rules.h"

#include <utility>

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

constexpr std::int64_t known_affine_version = 1;             // affine.py AFFINE_MAP_FORMAT_VERSION
constexpr std::int64_t max_extent = std::int64_t{1} << 40U;  // of sub-parameters: no sum of two wraps
constexpr double widths_version = 0.4;                       // the first that records sub_param_shard_widths

bool is_absent(const Node* node) {
    return node == nullptr || node->kind == Kind::none;
}

Result<std::vector<std::uint64_t>> counts_of(const Field& list) {
    CKPTFS_ASSIGN(const std::vector<Field> fields, list.as_list());
    std::vector<std::uint64_t> counts;
    for (const Field& field : fields) {
        CKPTFS_ASSIGN(const std::uint64_t count, field.as_count());
        counts.push_back(count);
    }
    return counts;
}

Result<std::string> text_of(const Node* node, const Place& place) {
    if (node->kind != Kind::string) {
        return place.damaged("a string");
    }
    return node->text;
}

double version_of(const Node* info) {
    const Node* version = pickle::find(info, "universal_checkpoint_version");
    if (is_absent(version)) {
        return 0;
    }
    return version->kind == Kind::real ? version->real : static_cast<double>(version->integer);
}

// SubparamShape: `shape` has a tuple of sizes at `partition_dim`, before version 0.4 also how many equal ones there
// are.
Result<SubParameterSlices> sub_parameter_shape(const Field& entry) {
    SubParameterSlices slices;
    CKPTFS_ASSIGN(const Field axis, entry.at("partition_dim"));
    CKPTFS_ASSIGN(slices.axis, axis.as_count());
    CKPTFS_ASSIGN(const Field shape, entry.at("shape"));
    CKPTFS_ASSIGN(const std::vector<Field> extents, shape.as_list());
    if (slices.axis >= extents.size()) {
        return axis.place.damaged("an axis of shape");
    }
    for (std::size_t i = 0; i < extents.size(); ++i) {
        const Node* extent = extents[i].node;
        std::int64_t sum = extent->integer;
        if (extent->kind == Kind::tuple || extent->kind == Kind::list) {
            CKPTFS_ASSIGN(std::vector<std::uint64_t> sizes, counts_of(extents[i]));
            sum = 0;
            for (const std::uint64_t size : sizes) {
                if (size > static_cast<std::uint64_t>(max_extent) || sum > max_extent) {
                    return extents[i].place.damaged("sizes of sub-parameters");
                }
                sum += static_cast<std::int64_t>(size);
            }
            if (i == slices.axis) {
                slices.sizes = std::move(sizes);
            }
        } else if (extent->kind != Kind::integer || extent->integer < -1) {
            return extents[i].place.damaged("an extent, -1 or a tuple of sizes");
        } else if (i == slices.axis) {
            CKPTFS_ASSIGN(slices.count, extents[i].as_count());
        }
        slices.view.push_back(sum);
    }
    return slices;
}

struct OffsetAndStrides {
    std::uint64_t offset = 0;
    std::vector<std::uint64_t> strides;
};

Result<OffsetAndStrides> offset_and_strides(const Field& entry, std::string_view key, std::size_t dimensions) {
    CKPTFS_ASSIGN(const Field pair, entry.at(key));
    CKPTFS_ASSIGN(const std::vector<Field> fields, pair.as_list());
    if (fields.size() != 2) {
        return pair.place.damaged("an offset and strides");
    }
    OffsetAndStrides result;
    CKPTFS_ASSIGN(result.offset, fields[0].as_count());
    CKPTFS_ASSIGN(result.strides, counts_of(fields[1]));
    if (result.strides.size() != dimensions) {
        return pair.place.damaged("as many strides as extents");
    }
    return result;
}

Result<AffinePiece> affine_piece(const Field& entry) {
    AffinePiece piece;
    CKPTFS_ASSIGN(const Field shape, entry.at("shape"));
    CKPTFS_ASSIGN(piece.shape, counts_of(shape));
    CKPTFS_ASSIGN(OffsetAndStrides source, offset_and_strides(entry, "source", piece.shape.size()));
    CKPTFS_ASSIGN(OffsetAndStrides slice, offset_and_strides(entry, "dest", piece.shape.size()));
    piece.source_offset = source.offset;
    piece.source_strides = std::move(source.strides);
    piece.slice_offset = slice.offset;
    piece.slice_strides = std::move(slice.strides);
    if (const Node* scale = pickle::find(entry.node, "scale"); !is_absent(scale)) {
        piece.scale = scale->kind == Kind::real ? scale->real : static_cast<double>(scale->integer);
    }
    return piece;
}

}  // namespace

Result<SliceRules> SliceRules::read(const Field& info, std::uint64_t degree) {
    CKPTFS_TRY(info.expect_dict());
    SliceRules rules;
    rules.place_ = info.place;
    rules.degree_ = degree;
    CKPTFS_TRY(read_patterns(info, "tp_replicated_parameter_patterns", rules.replicated_));
    CKPTFS_TRY(read_patterns(info, "parameter_to_average_patterns", rules.averaged_));
    CKPTFS_TRY(read_patterns(info, "parameter_with_row_parallelism_patterns", rules.rows_));
    CKPTFS_TRY(read_patterns(info, "vocabulary_parameter_patterns", rules.vocabulary_));
    CKPTFS_TRY(read_patterns(info, "parameter_with_2_sub_params_cat_dim_0", rules.halves_));
    CKPTFS_TRY(rules.read_sub_parameters(info));
    CKPTFS_TRY(rules.read_affine_maps(info));
    const Node* refused = pickle::find(info.node, "autotp_unsupported_parameter_patterns");
    for (const auto& [pattern, reason] : pickle::dict_items(refused)) {
        CKPTFS_TRY(rules.refused_.add(pattern->text));
        rules.refusal_reasons_.push_back(reason->text);
    }
    if (const Node* size = pickle::find(info.node, "original_vocab_size"); !is_absent(size)) {
        CKPTFS_ASSIGN(rules.vocabulary_size_, (Field{size, info.place.in("original_vocab_size")}.as_count()));
    }
    return rules;
}

Result<void> SliceRules::read_patterns(const Field& info, std::string_view key, NamePatterns& out) {
    const Node* list = pickle::find(info.node, key);
    if (is_absent(list)) {
        return {};
    }
    CKPTFS_ASSIGN(const std::vector<Field> patterns, (Field{list, info.place.in(key)}.as_list()));
    for (const Field& pattern : patterns) {
        CKPTFS_ASSIGN(const std::string text, text_of(pattern.node, pattern.place));
        if (auto added = out.add(text); !added.ok()) {
            return added.error().within(pattern.place.file + ": " + pattern.place.field);
        }
    }
    return {};
}

Result<void> SliceRules::read_sub_parameters(const Field& info) {
    const Node* list = pickle::find(info.node, "parameter_with_sub_params");
    if (is_absent(list)) {
        return {};
    }
    const pickle::DictIndex all_widths(pickle::find(info.node, "sub_param_shard_widths"));
    CKPTFS_ASSIGN(const std::vector<Field> entries,
                  (Field{list, info.place.in("parameter_with_sub_params")}.as_list()));
    for (const Field& entry : entries) {
        CKPTFS_ASSIGN(const SubParameterSlices shape, sub_parameter_shape(entry));
        CKPTFS_ASSIGN(const Field patterns, entry.at("patterns"));
        CKPTFS_ASSIGN(const std::vector<Field> texts, patterns.as_list());
        for (const Field& pattern : texts) {
            CKPTFS_ASSIGN(const std::string text, text_of(pattern.node, pattern.place));
            if (auto added = sub_parameters_.add(text); !added.ok()) {
                return added.error().within(pattern.place.file + ": " + pattern.place.field);
            }
            SubParameterSlices& slices = sub_shapes_.emplace_back(shape);
            if (version_of(info.node) < widths_version) {
                continue;  // cut evenly
            }
            const Node* widths = all_widths.find(text);
            const Place place = info.place.in("sub_param_shard_widths").in(text);
            if (widths == nullptr) {
                return place.damaged("the widths of its sub-parameters on each rank");
            }
            CKPTFS_ASSIGN(const std::vector<Field> by_sub_parameter, (Field{widths, place}.as_list()));
            for (const Field& of_ranks : by_sub_parameter) {
                CKPTFS_ASSIGN(std::vector<std::uint64_t> counts, counts_of(of_ranks));
                if (counts.size() != degree_) {
                    return of_ranks.place.damaged("a width for each of " + std::to_string(degree_) + " ranks");
                }
                slices.widths.push_back(std::move(counts));
            }
        }
    }
    return {};
}

Result<void> SliceRules::read_affine_maps(const Field& info) {
    const Node* maps = pickle::find(info.node, "affine_map");
    if (is_absent(maps)) {
        return {};
    }
    const Place place = info.place.in("affine_map");
    if (const Node* version = pickle::find(maps, "version");
        !is_absent(version) && version->integer > known_affine_version) {
        return Error(ErrorCode::unsupported, place.file + ": " + place.field + " has the version " +
                                                 std::to_string(version->integer) + ", expected at most " +
                                                 std::to_string(known_affine_version) + "; update ckptfs");
    }
    for (const auto& [pattern, map] : pickle::dict_items(pickle::find(maps, "params"))) {
        if (auto added = affine_.add(pattern->text); !added.ok()) {
            return added.error().within(place.file + ": " + place.field);
        }
        CKPTFS_ASSIGN(AffineSlices slices, read_affine_map({map, place.in("params").in(pattern->text)}));
        affine_maps_.push_back(std::move(slices));
    }
    return {};
}

Result<AffineSlices> SliceRules::read_affine_map(const Field& map) const {
    AffineSlices slices;
    CKPTFS_ASSIGN(const Field shape, map.at("logical_shape"));
    CKPTFS_ASSIGN(slices.shape, counts_of(shape));
    CKPTFS_ASSIGN(const Field ranks, map.at("ranks"));
    for (std::uint64_t rank = 0; rank < degree_; ++rank) {
        CKPTFS_ASSIGN(const Field of_rank, ranks.at(static_cast<std::int64_t>(rank)));
        CKPTFS_ASSIGN(const Field pieces, of_rank.at("pieces"));
        CKPTFS_ASSIGN(const std::vector<Field> list, pieces.as_list());
        std::vector<AffinePiece>& out = slices.pieces.emplace_back();
        for (const Field& entry : list) {
            CKPTFS_ASSIGN(AffinePiece piece, affine_piece(entry));
            out.push_back(std::move(piece));
        }
    }
    return slices;
}

Result<std::optional<std::size_t>> SliceRules::match(const NamePatterns& patterns, const std::string& name) const {
    CKPTFS_ASSIGN(const std::vector<std::size_t> found, patterns.matches(name));
    if (found.size() > 1) {
        return place_.inconsistent("both '" + patterns.text(found[0]) + "' and '" + patterns.text(found[1]) +
                                   "' match " + name);
    }
    return found.empty() ? std::optional<std::size_t>() : std::optional(found.front());
}

Result<SliceRule> SliceRules::rule_of(const std::string& name) const {
    SliceRule rule;
    CKPTFS_ASSIGN(const std::vector<std::size_t> refused, refused_.matches(name));
    if (!refused.empty()) {
        return Error(ErrorCode::unsupported, place_.file + ": " + place_.field + " says that " + name +
                                                 " cannot be made whole: " + refusal_reasons_[refused.front()]);
    }
    CKPTFS_ASSIGN(const auto vocabulary, match(vocabulary_, name));
    if (vocabulary) {
        if (!vocabulary_size_) {
            return place_.in("original_vocab_size").damaged("the number of rows of " + name + " without padding");
        }
        rule.vocabulary_size = vocabulary_size_;
    }
    CKPTFS_ASSIGN(const auto affine, match(affine_, name));
    CKPTFS_ASSIGN(const auto replicated, match(replicated_, name));
    CKPTFS_ASSIGN(const auto averaged, match(averaged_, name));
    CKPTFS_ASSIGN(const auto halves, match(halves_, name));
    CKPTFS_ASSIGN(const auto rows, match(rows_, name));
    CKPTFS_ASSIGN(const std::vector<std::size_t> sub_parameters, sub_parameters_.matches(name));
    if (affine) {
        rule.form = affine_maps_[*affine];
    } else if (replicated) {
        rule.form = ReplicatedSlices{};
    } else if (averaged) {
        rule.form = AveragedSlices{};
    } else if (halves) {
        rule.form = HalvedSlices{};
    } else if (!sub_parameters.empty()) {
        rule.form = sub_shapes_[sub_parameters.front()];
    } else {
        rule.form = ConcatenatedSlices{rows ? 1U : 0U};
    }
    return rule;
}

Result<std::optional<std::string>> SliceRules::unmatched(const std::vector<std::string>& names) const {
    for (const NamePatterns* patterns : {&replicated_, &averaged_, &rows_, &vocabulary_, &halves_, &sub_parameters_}) {
        std::vector<bool> used(patterns->size(), false);
        for (const std::string& name : names) {
            CKPTFS_ASSIGN(const std::vector<std::size_t> found, patterns->matches(name));
            for (const std::size_t pattern : found) {
                used[pattern] = true;
            }
        }
        for (std::size_t i = 0; i < used.size(); ++i) {
            if (!used[i]) {
                return std::optional(patterns->text(i));
            }
        }
    }
    return std::optional<std::string>();
}

}  // namespace ckptfs::zero
