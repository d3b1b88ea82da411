// Which files a picture is of, and where in them the states lie.
#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "report/cut_file.h"
#include "report/picture.h"
#include "util/machine_limits.h"
#include "util/parallel.h"

namespace ckptfs::report {
namespace {

using Offset = std::optional<std::uint64_t>;

/// An element of a group.
struct Element {
    std::size_t parameter = 0;
    std::uint64_t number = 0;
};

/// What one rank has of one sub-group: its first element and its last one.
struct Occupants {
    Element first;
    Element last;
    bool any = false;
};

/// The sub-groups of a side; a group that is not cut into any is one.
class SubGroupTable {
 public:
    explicit SubGroupTable(const Partitions& side) : starts_{0} {
        for (const std::uint64_t numel : side.sub_groups) {
            starts_.push_back(starts_.back() + numel);
        }
        if (starts_.size() > 1) {
            starts_.pop_back();
        }
    }

    [[nodiscard]] std::size_t size() const { return starts_.size(); }
    [[nodiscard]] std::uint64_t start(std::size_t index) const { return starts_[index]; }
    /// Of the last one that begins at or before this place: one without elements is as long as nothing.
    [[nodiscard]] std::size_t at(std::uint64_t place_numel) const {
        return static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), place_numel) -
                                        starts_.begin()) -
               1;
    }

 private:
    std::vector<std::uint64_t> starts_;
};

using Table = std::vector<std::vector<Occupants>>;  // by sub-group, then by rank

Table occupants(const DrawnGroup& group, const Partitions& side, const SubGroupTable& sub_groups, std::uint64_t ranks) {
    Table result(sub_groups.size(), std::vector<Occupants>(ranks));
    for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        const std::uint64_t numel = group.parameters[p].numel;
        for (std::uint64_t element = 0; element < numel;) {
            const PartitionPlace place = side.place(p, element);
            const std::uint64_t count = std::min(numel - element, side.left_on_rank(p, element));
            if (place.rank >= ranks) {
                break;
            }
            Occupants& here = result[sub_groups.at(place.numel)][place.rank];
            const std::uint64_t last = element + count - 1;
            if (!here.any || place.numel < side.place(here.first.parameter, here.first.number).numel) {
                here.first = {p, element};
            }
            if (!here.any || side.place(p, last).numel > side.place(here.last.parameter, here.last.number).numel) {
                here.last = {p, last};
            }
            here.any = true;
            element += count;
        }
    }
    return result;
}

/// Where elements are in one rank's file, by what they are in the source.
class FileMap {
 public:
    explicit FileMap(const File& file) {
        const auto* virtual_file = dynamic_cast<const VirtualFile*>(&file);
        if (virtual_file == nullptr) {
            runs_.push_back({&file, 0, file.size(), 0});
            return;
        }
        std::uint64_t at = 0;
        for (const Piece piece : virtual_file->pieces()) {
            if (piece.kind == Piece::Kind::source) {
                runs_.push_back({piece.file, piece.offset, piece.length, at});
            }
            at += piece.length;
        }
        std::sort(runs_.begin(), runs_.end(), [](const auto& a, const auto& b) {
            return a.file != b.file ? std::less<>()(a.file, b.file) : a.offset < b.offset;
        });
    }

    /// The byte that shows `element`; nullopt where none does.
    [[nodiscard]] Offset find(const model::Elements& elements, std::uint64_t element) const {
        PieceList list;
        elements.append(element, 1, list);
        if (list.pieces().size() != 1 || list.pieces().front().kind != Piece::Kind::source) {
            return std::nullopt;
        }
        const Piece wanted = list.pieces().front();
        const auto after = std::upper_bound(runs_.begin(), runs_.end(), wanted, [](const Piece& a, const Run& b) {
            return a.file != b.file ? std::less<>()(a.file, b.file) : a.offset < b.offset;
        });
        if (after == runs_.begin()) {
            return std::nullopt;
        }
        const Run& run = *(after - 1);
        if (run.file != wanted.file || wanted.offset - run.offset >= run.length) {
            return std::nullopt;
        }
        return run.at + (wanted.offset - run.offset);
    }

 private:
    struct Run {
        const File* file;
        std::uint64_t offset;
        std::uint64_t length;
        std::uint64_t at;
    };
    std::vector<Run> runs_;
};

/// Fills in where the states of one side lie, file by file.
class Placer {
 public:
    Placer(const DrawnGroup& group, Partitions& side, std::vector<zero::State> states, std::uint64_t ranks)
        : side_(side),
          states_(std::move(states)),
          sub_groups_(side),
          occupants_(occupants(group, side, sub_groups_, ranks)) {
        side.states.clear();
        for (const zero::State& state : states_) {
            const model::DType dtype = state.form().dtype;
            side.states.push_back({.key = std::string(state.key()),
                                   .dtype = std::string(model::name(dtype)),
                                   .itemsize = model::itemsize(dtype),
                                   .offsets = {sub_groups_.size(), std::vector<Offset>(ranks)}});
        }
    }

    void place(std::uint64_t rank, const FileMap& file) {
        for (std::size_t state = 0; state < states_.size(); ++state) {
            for (std::size_t index = 0; index < sub_groups_.size(); ++index) {
                side_.states[state].offsets[index][rank] = offset(states_[state], index, rank, file);
            }
        }
    }

 private:
    // What both its ends say; they differ where a state is kept in another order than the partition's (Muon's).
    [[nodiscard]] Offset offset(const zero::State& state, std::size_t index, std::uint64_t rank,
                                const FileMap& file) const {
        const Occupants& here = occupants_[index][rank];
        if (!here.any) {
            return std::nullopt;
        }
        const Offset first = offset_by(state, index, here.first, file);
        return first == offset_by(state, index, here.last, file) ? first : std::nullopt;
    }

    [[nodiscard]] Offset offset_by(const zero::State& state, std::size_t index, const Element& element,
                                   const FileMap& file) const {
        const Offset at = file.find(state.elements(element.parameter), element.number);
        const std::uint64_t before = (side_.place(element.parameter, element.number).numel - sub_groups_.start(index)) *
                                     model::itemsize(state.form().dtype);
        return at && *at >= before ? Offset(*at - before) : std::nullopt;
    }

    Partitions& side_;
    std::vector<zero::State> states_;
    SubGroupTable sub_groups_;
    Table occupants_;
};

std::vector<zero::State> all_states(const model::Group& group, const zero::GroupForm& form) {
    std::vector<zero::State> result{zero::State::master(group, form)};
    for (const zero::State& state : zero::states_of(group, form)) {
        result.push_back(state);
    }
    return result;
}

DrawnFile source_file(const zero::Family& family, const std::string& name, std::uint64_t nbytes,
                      std::optional<std::uint64_t> optimizer_rank) {
    return {{.name = name, .nbytes = nbytes, .original = true, .parts = {}}, family.rank, optimizer_rank};
}

void add_source_files(const zero::Family& family, std::vector<DrawnFile>& out) {
    if (family.model_states_of_ranks().empty()) {
        out.push_back(source_file(family, family.model_states_name, family.model_states_info.stamp.size, std::nullopt));
    }
    for (const zero::RankFile& rank : family.model_states_of_ranks()) {
        out.push_back(source_file(family, rank.name, rank.info.stamp.size, std::nullopt));
    }
    for (std::size_t rank = 0; rank < family.optimizer.size(); ++rank) {
        const zero::RankFile& file = family.optimizer[rank];
        out.push_back(source_file(family, file.name, file.info.stamp.size, rank));
    }
    for (const zero::RankFile& layer : family.layers.files) {
        out.push_back(source_file(family, layer.name, layer.info.stamp.size, std::nullopt));
    }
}

/// The placers of a family's groups, for one side.
std::vector<std::unique_ptr<Placer>> placers(const zero::Written& checkpoint, std::size_t family, Picture& picture,
                                             Partitions DrawnGroup::*side, std::size_t first_group) {
    std::vector<std::unique_ptr<Placer>> result;
    const model::Rank& content = checkpoint.content.ranks[family];
    const std::vector<zero::GroupForm>& forms = checkpoint.families[family].groups;  // none at stage 0
    for (std::size_t index = 0; index < forms.size(); ++index) {
        DrawnGroup& group = picture.groups[first_group + index];
        result.push_back(std::make_unique<Placer>(group, group.*side, all_states(content.groups[index], forms[index]),
                                                  std::min<std::uint64_t>((group.*side).ranks, max_drawn_files)));
    }
    return result;
}

/// A family's part of a view: first its model states, then its optimizer files.
struct FamilyFiles {
    const zero::Written& checkpoint;
    const View& view;
    const zero::Family& family;
    std::size_t first = 0;            ///< in the view
    std::size_t first_optimizer = 0;  ///< in this part
    std::vector<std::unique_ptr<Placer>> placers;

    [[nodiscard]] Result<DrawnFile> open(std::size_t index) const {
        CKPTFS_ASSIGN(const auto file, view.open(first + index));
        DrawnFile drawn{describe_file(checkpoint, view, first + index, *file), family.rank, std::nullopt};
        if (index >= first_optimizer) {
            drawn.optimizer_rank = index - first_optimizer;
            const FileMap map(*file);
            for (const auto& placer : placers) {
                placer->place(*drawn.optimizer_rank, map);
            }
        }
        return drawn;
    }

    /// The first `count`.
    [[nodiscard]] Result<std::vector<DrawnFile>> open_all(std::size_t count) const {
        std::vector<std::optional<Result<DrawnFile>>> opened(count);
        for_each_in_parallel(count, processors(), [&](std::size_t index) {
            opened[index].emplace(open(index));
            return opened[index]->ok();
        });
        std::vector<DrawnFile> files;
        for (std::optional<Result<DrawnFile>>& file : opened) {
            CKPTFS_TRY(*file);
            files.push_back(std::move(**file));
        }
        return files;
    }
};

void place_source_files(const zero::Family& family, const std::vector<std::unique_ptr<Placer>>& placers) {
    for (std::size_t rank = 0; rank < std::min(family.optimizer.size(), max_drawn_files); ++rank) {
        const FileMap map(*family.optimizer[rank].file);
        for (const auto& placer : placers) {
            placer->place(rank, map);
        }
    }
}

}  // namespace

Result<void> place_files(const zero::Written& checkpoint, const View& view, Picture& picture) {
    const std::size_t per_family = view.file_count() / checkpoint.families.size();
    const std::uint64_t ranks_after =
        checkpoint.format == zero::Format::stage0 ? 0 : picture.world_size_after / checkpoint.degree();
    std::size_t first_group = 0;
    for (std::size_t index = 0; index < checkpoint.families.size(); ++index) {
        const zero::Family& family = checkpoint.families[index];
        add_source_files(family, picture.files_before);
        place_source_files(family, placers(checkpoint, index, picture, &DrawnGroup::before, first_group));
        const FamilyFiles of_view{.checkpoint = checkpoint,
                                  .view = view,
                                  .family = family,
                                  .first = index * per_family,
                                  .first_optimizer = per_family - ranks_after,
                                  .placers = placers(checkpoint, index, picture, &DrawnGroup::after, first_group)};
        const std::size_t listed = std::min(per_family, max_drawn_files - picture.files_after.size());
        picture.unlisted_files_after += per_family - listed;
        CKPTFS_ASSIGN(std::vector<DrawnFile> files, of_view.open_all(listed));
        std::move(files.begin(), files.end(), std::back_inserter(picture.files_after));
        first_group += family.groups.size();
    }
    return {};
}

}  // namespace ckptfs::report
