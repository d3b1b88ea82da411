// From the content of a checkpoint, or the files of a view, to tensors by name.
#include "diff/side.h"

#include <algorithm>
#include <set>

#include "util/text.h"
#include "verify/derived_kinds.h"
#include "zero/fields.h"
#include "zero/join_ranks.h"
#include "zero/saved_values.h"

namespace ckptfs::diff {
namespace {

/// What tells of the cut, or of the program that saved, rather than of the training.
bool is_of_the_cut(const std::string& field) {
    static const std::set<std::string, std::less<>> fields{"dp_world_size", "mp_world_size", "ds_version",
                                                           "global_steps"};
    return fields.contains(field) || field.starts_with("checkpoint_parallel_dimensions");
}

Tensor tensor_of(const model::Elements& elements, std::vector<std::uint64_t> shape) {
    return {elements.dtype(), std::move(shape), elements.numel(),
            [elements](std::uint64_t from, std::uint64_t count, PieceList& out) { elements.append(from, count, out); }};
}

class Builder {
 public:
    explicit Builder(Side& side) : side_(side) {}

    void add_rank(const model::Rank& rank, const std::string& prefix) {
        for (std::size_t group = 0; group < rank.groups.size(); ++group) {
            for (const model::Parameter& parameter : rank.groups[group].parameters) {
                // Stage 0 says of no parameter whether it is trained, and has one group of all.
                const bool is_known = parameter.trainable.has_value();
                Entry& entry = add_parameter(parameter, prefix, is_known ? "trained" : "");
                entry.group = is_known ? std::optional(group) : std::nullopt;
                for (std::size_t index = 0; index < parameter.states.size(); ++index) {
                    entry.tensors.emplace(rank.groups[group].states[index],
                                          tensor_of(parameter.states[index], parameter.shape));
                }
            }
        }
        for (const model::Parameter& parameter : rank.frozen) {
            add_parameter(parameter, prefix, "frozen");
        }
        for (const model::Tensor& buffer : rank.buffers) {
            Entry& entry = add(prefix + buffer.name, "buffer");
            entry.tensors.emplace("weight", tensor_of(buffer.elements, buffer.shape));
        }
        for (const model::TiedName& tied : rank.tied) {
            side_.tied.emplace_back(prefix + tied.name, prefix + tied.of);
        }
    }

    void add_groups(const model::Rank& rank, const std::string& prefix) {
        for (std::size_t group = 0; group < rank.groups.size(); ++group) {
            const std::string where = prefix + "group " + std::to_string(group);
            for (const auto& [name, value] : rank.groups[group].hyper_parameters) {
                side_.numbers.push_back({where, name, value});
            }
            if (rank.groups[group].step) {
                side_.numbers.push_back({where, "step of the optimizer", *rank.groups[group].step});
            }
        }
    }

    Entry& add(const std::string& name, std::string role) {
        const auto [known, is_new] = side_.index.try_emplace(name, side_.entries.size());
        if (is_new) {
            side_.entries.push_back({name, std::move(role), std::nullopt, std::nullopt, {}});
        }
        return side_.entries[known->second];
    }

 private:
    Entry& add_parameter(const model::Parameter& parameter, const std::string& prefix, std::string role) {
        Entry& entry = add(prefix + parameter.name, std::move(role));
        entry.engine_dtype = parameter.dtype;
        if (parameter.weight) {
            entry.tensors.emplace("weight", tensor_of(*parameter.weight, parameter.shape));
        }
        if (parameter.master) {
            entry.tensors.emplace("master", tensor_of(*parameter.master, parameter.shape));
        }
        return entry;
    }

    Side& side_;
};

/// The counters of the run, and the states of its learning-rate schedule and its loss scaler, as the first ranks' files
/// have them.
Result<void> add_counters(const zero::Written& checkpoint, Side& side) {
    const zero::Family& family = checkpoint.families.front();
    if (checkpoint.content.global_steps) {
        side.numbers.push_back({"", "global_steps", *checkpoint.content.global_steps});
    }
    const auto add = [&](const zero::FileValues& values) {
        for (const zero::SavedValue& value : values.values) {
            if (!is_of_the_cut(value.field) && value.owner == zero::ValueOwner::save) {
                side.numbers.push_back({"", value.field, value.text});
            }
        }
    };
    const pt::Archive& archive = *family.model_states;
    const zero::Field root{archive.root(), {family.model_states_name, ""}};
    CKPTFS_ASSIGN(const auto values, zero::model_states_values(root, archive));
    CKPTFS_ASSIGN(const auto of_run, zero::values_of_file(family.model_states_name, values, archive.own_places()));
    add(of_run);
    if (family.optimizer.empty() || family.optimizer.front().structure == nullptr) {
        return {};
    }
    const zero::RankFile& first = family.optimizer.front();
    const zero::Field file{first.structure->root(), {first.name, ""}};
    const auto optimizer = file.at("optimizer_state_dict");
    if (!optimizer) {
        return {};  // BF16_Optimizer of old versions keeps no scaler
    }
    const pickle::Node nothing;
    const zero::Field none{&nothing, optimizer->place};
    CKPTFS_ASSIGN(const auto of_optimizer, zero::optimizer_values(none, *optimizer, none, *first.structure));
    CKPTFS_ASSIGN(const auto scaler, zero::values_of_file(first.name, of_optimizer, first.places));
    add(scaler);
    return {};
}

}  // namespace

Result<Side> side_of(std::shared_ptr<const zero::Written> checkpoint, std::string display, bool joined) {
    Side side;
    side.display = std::move(display);
    side.format = zero::name(checkpoint->format);
    side.facts = "stage " + std::to_string(checkpoint->stage) + " (" + side.format + "), " +
                 counted(checkpoint->world_size(), "rank");
    side.global_step = checkpoint->content.global_steps;
    side.not_held = checkpoint->content.gaps;
    Builder builder(side);
    if (joined && checkpoint->content.ranks.size() > 1) {
        CKPTFS_ASSIGN(auto whole, zero::join_model_parallel(checkpoint->content, checkpoint->families));
        const auto kept = std::make_shared<const model::Checkpoint>(std::move(whole));
        builder.add_rank(kept->ranks.front(), "");
        builder.add_groups(kept->ranks.front(), "");
        side.keepers.push_back(kept);
    } else {
        const bool is_one = checkpoint->content.ranks.size() == 1;
        for (const model::Rank& rank : checkpoint->content.ranks) {
            const std::string prefix = is_one ? "" : "mp_rank_" + rank.name + "/";
            builder.add_rank(rank, prefix);
            builder.add_groups(rank, prefix);
        }
    }
    CKPTFS_TRY(add_counters(*checkpoint, side));
    side.keepers.push_back(std::move(checkpoint));
    return side;
}

Result<Side> side_of(const std::shared_ptr<const View>& view, const ViewRequest& request, std::string display) {
    Side side;
    side.display = std::move(display);
    side.format = request.name();
    side.facts = "as " + request.name();
    const verify::DerivedKind& kind = *verify::derived_kind(request.kind);
    Builder builder(side);
    for (std::size_t index = 0; index < view->file_count(); ++index) {
        CKPTFS_ASSIGN(const auto file, view->open(index));
        CKPTFS_ASSIGN(auto tensors, kind.found(view->file_name(index), file));
        for (verify::FoundTensor& found : tensors) {
            const verify::ShownTensor& shown = found.tensor;
            std::uint64_t numel = 1;
            for (const std::uint64_t extent : shown.shape) {
                numel *= extent;
            }
            const std::uint64_t itemsize = model::itemsize(shown.dtype);
            const auto append = [file = file.get(), offset = shown.offset, itemsize](
                                    std::uint64_t from, std::uint64_t count, PieceList& out) {
                out.add_source(file, offset + from * itemsize, count * itemsize);
            };
            Entry& entry = builder.add(shown.name, "");
            entry.tensors.insert_or_assign(found.kind == "fp32" ? "master" : found.kind,
                                           Tensor{shown.dtype, shown.shape, numel, append});
        }
        side.keepers.push_back(file);
    }
    side.keepers.push_back(view);
    return side;
}

}  // namespace ckptfs::diff
