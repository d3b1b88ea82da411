// Finds out how each group lies, and checks that the ranks' partitions hold all of it.
#include "zero/group_reader.h"

#include <algorithm>
#include <array>

#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

struct GroupLayout {
    FlatRules rules;
    FlatLayout layout;
    std::vector<Parameter> parameters;  // in optimizer order
    WeightsBuffer weights;
};

Result<GroupLayout> lay_out_group(const ModelStates& states, std::size_t group, const FlatRules& rules) {
    GroupLayout result;
    result.rules = rules;
    result.parameters = optimizer_order(states.groups[group], states.world_size, rules.round_robin);
    std::vector<std::uint64_t> numels;
    numels.reserve(result.parameters.size());
    for (const Parameter& parameter : result.parameters) {
        numels.push_back(parameter.numel);
    }
    CKPTFS_ASSIGN(result.layout, flat_layout(numels, states.world_size, rules));
    CKPTFS_ASSIGN(result.weights, find_weights(states, result.parameters, result.layout));
    return result;
}

bool paddings_agree(const OptimizerFile& file, std::size_t group, const FlatLayout& layout) {
    return !file.alignment_paddings || group >= file.alignment_paddings->size() ||
           (*file.alignment_paddings)[group] == layout.alignment_after;
}

// The stored config says which rules the engine was asked to follow; an engine may have had reasons not to (a pipeline
// turns round robin off). The module's tensors show what it did, so other rules are tried where those of the config do
// not fit.
Result<GroupLayout> find_group_layout(const ModelStates& states, const OptimizerFile& file, std::size_t group) {
    if (file.format == Format::bf16_optimizer) {
        return lay_out_group(states, group, FlatRules{});
    }
    CKPTFS_ASSIGN(const std::uint64_t itemsize, weights_itemsize(states, states.groups[group]));
    const std::uint64_t aligned = alignment_numel(itemsize);
    const bool round_robin = states.config.round_robin_gradients;
    const std::uint64_t alignment = states.config.parameter_alignment ? aligned : 1;
    const std::array<FlatRules, 4> candidates{FlatRules{round_robin, alignment}, FlatRules{!round_robin, alignment},
                                              FlatRules{round_robin, aligned + 1 - alignment},
                                              FlatRules{!round_robin, aligned + 1 - alignment}};
    std::optional<Error> first_error;
    for (const FlatRules& rules : candidates) {
        auto found = lay_out_group(states, group, rules);
        if (!found.ok()) {
            if (found.error().code() != ErrorCode::inconsistent) {
                return found.error();
            }
        } else if (paddings_agree(file, group, found->layout) &&
                   (&rules == candidates.data() || found->weights.state)) {
            return found;
        }
        if (!first_error) {
            first_error = found.ok() ? Place{states.archive->file()->name(), "ds_config"}.inconsistent(
                                           "zero_optimization.parameter_alignment does not explain "
                                           "param_alignment_paddings of the optimizer files")
                                     : found.error();
        }
    }
    return *first_error;
}

const StateEntry* find_entry(const GroupEntry& group, const std::string& key) {
    const auto it = std::find_if(group.states.begin(), group.states.end(),
                                 [&key](const StateEntry& entry) { return entry.key == key; });
    return it == group.states.end() ? nullptr : &*it;
}

std::vector<std::string> all_keys(const std::vector<OptimizerFile>& files, std::size_t group) {
    std::vector<std::string> keys;
    for (const OptimizerFile& file : files) {
        for (const StateEntry& entry : file.groups[group].states) {
            if (std::find(keys.begin(), keys.end(), entry.key) == keys.end()) {
                keys.push_back(entry.key);
            }
        }
    }
    return keys;
}

// Maps of a state that is cut as the flat buffer is.
void map_partitioned(const FlatLayout& layout, State& state) {
    state.parameters.resize(layout.slots.size());
    for (const Slot& slot : layout.slots) {
        state.parameters[slot.parameter] = {state.shards, layout.partition_numel, slot.offset_numel, 0};
    }
}

// The slots that touch a rank's partition.
std::vector<const Slot*> touched(const FlatLayout& layout, std::uint64_t rank) {
    const std::uint64_t left = rank * layout.partition_numel;
    std::vector<const Slot*> slots;
    for (std::size_t i = layout.first_slot_after(left); i < layout.slots.size(); ++i) {
        const Slot& slot = layout.slots[i];
        if (slot.offset_numel >= left + layout.partition_numel) {
            break;
        }
        if (slot.numel > 0) {
            slots.push_back(&slot);
        }
    }
    return slots;
}

std::uint64_t whole_numel(const FlatLayout& layout, std::uint64_t rank) {
    std::uint64_t numel = 0;
    for (const Slot* slot : touched(layout, rank)) {
        numel += slot->numel;
    }
    return numel;
}

// Muon's momentum under ZeRO-1/2 (stage_1_and_2.py _apply_distributed_muon_update): each rank keeps, in flat order, the
// whole momentum of every parameter that touches its partition. The first rank that has a parameter serves it.
void map_whole_parameters(const FlatLayout& layout, State& state) {
    state.whole_parameters = true;
    state.parameters.resize(layout.slots.size());
    for (std::size_t rank = layout.world_size; rank-- > 0;) {
        std::uint64_t offset = 0;
        for (const Slot* slot : touched(layout, rank)) {
            state.parameters[slot->parameter] = {std::span(state.shards).subspan(rank, 1), slot->numel, 0, offset};
            offset += slot->numel;
        }
    }
}

class GroupJoin {
 public:
    GroupJoin(const std::vector<OptimizerFile>& files, const std::vector<RankFile>& ranks, std::size_t group,
              const FlatLayout& layout, const LayoutConfig& config)
        : files_(files), ranks_(ranks), group_(group), layout_(layout), config_(config) {}

    Result<State> master() const {
        State state;
        state.key = "fp32";
        state.dtype = files_.front().groups[group_].master.dtype;
        state.example = files_.front().groups[group_].master.node;
        for (std::size_t rank = 0; rank < files_.size(); ++rank) {
            const StateEntry& entry = files_[rank].groups[group_].master;
            CKPTFS_TRY(check_shard(rank, "single_partition_of_fp32_groups", entry, state.dtype));
            state.shards.push_back(entry.shard);
        }
        map_partitioned(layout_, state);
        return state;
    }

    /// nullopt: a scalar, kept as it is.
    Result<std::optional<State>> state(const std::string& key) const {
        const std::vector<const StateEntry*> entries = entries_of(key);
        State state;
        state.key = key;
        state.muon_momentum = key == "momentum_buffer" && files_.front().groups[group_].use_muon &&
                              files_.front().format == Format::zero12;
        const bool whole = is_whole(state, entries);
        if (!whole && !is_partitioned(key, entries)) {
            CKPTFS_TRY(check_scalar(key, entries));
            return std::optional<State>();
        }
        for (const StateEntry* entry : entries) {
            if (entry != nullptr && state.example == nullptr) {
                state.example = entry->node;  // of the first rank that has it, whose tree is always kept
                state.dtype = entry->dtype;
            }
            state.shards.push_back(entry != nullptr ? entry->shard : Shard{});
        }
        if (whole) {
            map_whole_parameters(layout_, state);
            return std::optional(std::move(state));
        }
        for (std::size_t rank = 0; rank < entries.size(); ++rank) {
            CKPTFS_TRY(check_shard(rank, "state '" + key + "'", *entries[rank], state.dtype));
        }
        map_partitioned(layout_, state);
        return std::optional(std::move(state));
    }

    Result<void> check_steps() const {
        std::optional<double> first;
        for (std::size_t rank = 0; rank < files_.size(); ++rank) {
            const GroupEntry& group = files_[rank].groups[group_];
            std::optional<double> step = group.step;
            if (const StateEntry* entry = find_entry(group, "step")) {
                CKPTFS_ASSIGN(step, scalar_value(*entry));
            }
            if (rank == 0) {
                first = step;
            } else if (step && first && *step != *first) {
                return ranks_error(rank, "it is at optimizer step " + std::to_string(static_cast<long long>(*step)) +
                                             ", rank 0 at step " + std::to_string(static_cast<long long>(*first)));
            }
        }
        return {};
    }

 private:
    // In a plain file a state is as long as the partition, in an elastic one shorter by the rank's padding.
    [[nodiscard]] std::uint64_t state_numel(std::size_t rank) const {
        if (files_.front().format != Format::zero12_elastic) {
            return layout_.partition_numel;
        }
        const std::uint64_t padding = files_[rank].groups[group_].padding_numel;
        return padding > layout_.partition_numel ? 0 : layout_.partition_numel - padding;
    }

    [[nodiscard]] std::vector<const StateEntry*> entries_of(const std::string& key) const {
        std::vector<const StateEntry*> entries;
        for (const OptimizerFile& file : files_) {
            entries.push_back(find_entry(file.groups[group_], key));
        }
        return entries;
    }

    [[nodiscard]] bool is_partitioned(const std::string& key, const std::vector<const StateEntry*>& entries) const {
        for (std::size_t rank = 0; rank < entries.size(); ++rank) {
            const StateEntry* entry = entries[rank];
            if (key == "step" || entry == nullptr || entry->dimensions != 1 ||
                entry->shard.numel != state_numel(rank)) {
                return false;
            }
        }
        return true;
    }

    [[nodiscard]] bool is_whole(const State& state, const std::vector<const StateEntry*>& entries) const {
        if (!state.muon_momentum || config_.optimizer_offloaded) {
            return false;
        }
        for (std::size_t rank = 0; rank < entries.size(); ++rank) {
            const std::uint64_t numel = entries[rank] == nullptr ? 0 : entries[rank]->shard.numel;
            if (numel != whole_numel(layout_, rank)) {
                return false;
            }
        }
        return true;
    }

    Result<void> check_scalar(const std::string& key, const std::vector<const StateEntry*>& entries) const {
        for (std::size_t rank = 0; rank < entries.size(); ++rank) {
            const StateEntry* entry = entries[rank];
            if (entry == nullptr || !entry->tensor || entry->shard.numel <= 1) {
                continue;
            }
            const auto missing = std::find(entries.begin(), entries.end(), nullptr);
            if (missing != entries.end() && entry->shard.numel == state_numel(rank)) {
                return ranks_error(static_cast<std::size_t>(missing - entries.begin()),
                                   "state '" + key + "' is missing, but other ranks have it");
            }
            return refuse(Refusal::not_element_wise, ranks_[rank].file->name(),
                          "state '" + key + "' has " + std::to_string(entry->shard.numel) + " elements in " +
                              std::to_string(entry->dimensions) + " dimensions, the flat partition " +
                              std::to_string(state_numel(rank)));
        }
        return {};
    }

    [[nodiscard]] Error ranks_error(std::size_t rank, const std::string& finding) const {
        return {ErrorCode::inconsistent,
                ranks_[rank].file->name() + ": parameter group " + std::to_string(group_) + ": " + finding +
                    "; files of two saves lie in one directory: wait for the running save, or restore the files"};
    }

    Result<void> check_shard(std::size_t rank, const std::string& what, const StateEntry& entry,
                             pt::DType dtype) const {
        const std::uint64_t needed = layout_.used_numel(rank);
        if (entry.shard.numel < needed || entry.dtype != dtype) {
            return ranks_error(rank, what + " has " + std::to_string(entry.shard.numel) + " elements of " +
                                         std::string(pt::name(entry.dtype)) + ", expected at least " +
                                         std::to_string(needed) + " of " + std::string(pt::name(dtype)));
        }
        return {};
    }

    const std::vector<OptimizerFile>& files_;
    const std::vector<RankFile>& ranks_;
    std::size_t group_;
    const FlatLayout& layout_;
    const LayoutConfig& config_;
};

Result<void> check_same_shape(const ModelStates& states, const std::vector<OptimizerFile>& files,
                              const std::vector<RankFile>& ranks) {
    for (std::size_t rank = 0; rank < files.size(); ++rank) {
        if (files[rank].groups.size() != states.groups.size() || files[rank].format != files.front().format) {
            return Error(ErrorCode::inconsistent,
                         ranks[rank].file->name() + ": it holds " + std::to_string(files[rank].groups.size()) +
                             " parameter groups in the " + std::string(name(files[rank].format)) +
                             " format, but the model states list " + std::to_string(states.groups.size()) +
                             " groups and rank 0 has the " + std::string(name(files.front().format)) +
                             " format; restore the files of one save");
        }
    }
    return {};
}

}  // namespace

Result<std::vector<ParameterGroup>> join_ranks(const ModelStates& states, const std::vector<OptimizerFile>& files,
                                               const std::vector<RankFile>& ranks) {
    CKPTFS_TRY(check_same_shape(states, files, ranks));
    std::vector<ParameterGroup> groups;
    for (std::size_t g = 0; g < states.groups.size(); ++g) {
        CKPTFS_ASSIGN(GroupLayout found, find_group_layout(states, files.front(), g));
        const GroupJoin join(files, ranks, g, found.layout, states.config);
        CKPTFS_TRY(join.check_steps());
        ParameterGroup group;
        CKPTFS_ASSIGN(group.master, join.master());
        for (const std::string& key : all_keys(files, g)) {
            CKPTFS_ASSIGN(std::optional<State> state, join.state(key));
            if (state) {
                group.states.push_back(*std::move(state));
            }
        }
        group.has_state =
            std::any_of(files.begin(), files.end(), [g](const OptimizerFile& f) { return f.groups[g].has_state; });
        group.parameters = std::move(found.parameters);
        group.rules = found.rules;
        group.weights = std::move(found.weights.state);
        group.weights_itemsize = found.weights.itemsize;
        groups.push_back(std::move(group));
    }
    return groups;
}

}  // namespace ckptfs::zero
