// Finds out how each group lies, and checks that the ranks' partitions hold all of it.
#include "zero/group_reader.h"

#include <algorithm>
#include <unordered_set>

#include "zero/mixed_saves.h"
#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

struct GroupLayout {
    FlatRules rules;
    FlatLayout layout;
    std::vector<Parameter> parameters;  // in optimizer order
    std::uint64_t weights_itemsize = 4;
    std::optional<WeightsBuffer> weights;
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
    auto layout = flat_layout(numels, states.world_size, rules);
    if (!layout) {
        return layout.error().within(states.archive->file()->name() + ": param_shapes");
    }
    result.layout = *std::move(layout);
    CKPTFS_ASSIGN(result.weights_itemsize, weights_itemsize(states, result.parameters));
    CKPTFS_ASSIGN(result.weights, find_weights(states, result.parameters, result.layout));
    return result;
}

bool paddings_agree(const OptimizerFile& file, std::size_t group, const FlatLayout& layout) {
    return !file.alignment_paddings || group >= file.alignment_paddings->size() ||
           (*file.alignment_paddings)[group] == layout.alignment_after;
}

// The parameters that the ranks' param_slice_mappings name, in order of first appearance: without alignment padding
// that is optimizer order, whatever order they lie in.
std::vector<std::string> mapped_order(const std::vector<OptimizerFile>& files, std::size_t group) {
    std::vector<std::string> order;
    std::unordered_set<std::string_view> seen;
    for (const OptimizerFile& file : files) {
        for (const std::string& name : file.groups[group].slices) {
            if (seen.insert(name).second) {
                order.push_back(name);
            }
        }
    }
    return order;
}

std::vector<std::string> names_of(const std::vector<Parameter>& parameters) {
    std::vector<std::string> names;
    for (const Parameter& parameter : parameters) {
        if (parameter.numel > 0) {
            names.push_back(parameter.name);
        }
    }
    return names;
}

std::vector<std::string> sorted(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    return names;
}

// Whether the flat buffer is in round-robin order. The files themselves tell where they can; else the stored config.
Result<bool> is_round_robin(const ModelStates& states, const std::vector<OptimizerFile>& files, std::size_t group,
                            bool aligned) {
    const bool configured = states.config.round_robin_gradients;
    const std::vector<std::string> mapped = mapped_order(files, group);
    if (aligned || sorted(mapped) != sorted(names_of(states.groups[group]))) {
        return configured;
    }
    for (const bool candidate : {configured, !configured}) {
        if (names_of(optimizer_order(states.groups[group], states.world_size, candidate)) == mapped) {
            return candidate;
        }
    }
    return Place{states.archive->file()->name(), "param_shapes"}.inconsistent(
        "the parameters of group " + std::to_string(group) +
        " lie in another order than param_slice_mappings of the optimizer files explain; restore the files of one "
        "save");
}

Result<GroupLayout> lay_out_candidate(const ModelStates& states, const std::vector<OptimizerFile>& files,
                                      std::size_t group, std::uint64_t alignment) {
    CKPTFS_ASSIGN(const bool round_robin, is_round_robin(states, files, group, alignment > 1));
    CKPTFS_ASSIGN(GroupLayout found, lay_out_group(states, group, FlatRules{round_robin, alignment}));
    if (!paddings_agree(files.front(), group, found.layout)) {
        return Place{states.archive->file()->name(), "ds_config"}.inconsistent(
            "zero_optimization.parameter_alignment does not explain param_alignment_paddings of the optimizer files");
    }
    return found;
}

// Whether the parameters' order in the ranks' param_slice_mappings, where that tells it, is what round robin or its
// absence explains.
bool order_agrees(const ModelStates& states, const std::vector<OptimizerFile>& files, std::size_t group,
                  const FlatRules& rules) {
    const std::vector<std::string> mapped = mapped_order(files, group);
    return rules.alignment_numel > 1 || sorted(mapped) != sorted(names_of(states.groups[group])) ||
           names_of(optimizer_order(states.groups[group], states.world_size, rules.round_robin)) == mapped;
}

// Where no config is stored, what else than `rules` the engine may have been asked for: a view at another world size
// must not choose between rules that cut differently there.
Result<std::vector<FlatRules>> find_other_rules(const ModelStates& states, const std::vector<OptimizerFile>& files,
                                                std::size_t group, const FlatRules& rules) {
    std::vector<FlatRules> others;
    if (states.config.known || files.front().format == Format::bf16_optimizer) {
        return others;
    }
    CKPTFS_ASSIGN(const bool in_module, has_module_tensors(states, states.groups[group]));
    CKPTFS_ASSIGN(const std::uint64_t itemsize, weights_itemsize(states, states.groups[group]));
    std::vector<std::uint64_t> alignments{1, alignment_numel(itemsize)};
    if (!in_module) {
        alignments = {1, alignment_numel(sizeof(std::uint16_t)), alignment_numel(sizeof(float))};
    }
    for (const std::uint64_t alignment : alignments) {
        for (const bool round_robin : {false, true}) {
            const FlatRules candidate{round_robin, alignment};
            if (candidate == rules || !order_agrees(states, files, group, candidate)) {
                continue;
            }
            const auto layout = lay_out_group(states, group, candidate);
            if (layout && paddings_agree(files.front(), group, layout->layout)) {
                others.push_back(candidate);
            } else if (!layout && layout.error().code() != ErrorCode::inconsistent) {
                return layout.error();
            }
        }
    }
    return others;
}

// The stored config says which alignment the engine was asked for; the module's tensors and param_alignment_paddings
// show what it did, so the other one is tried where that of the config does not fit them.
Result<GroupLayout> find_group_layout(const ModelStates& states, const std::vector<OptimizerFile>& files,
                                      std::size_t group) {
    if (files.front().format == Format::bf16_optimizer) {
        return lay_out_group(states, group, FlatRules{});
    }
    CKPTFS_ASSIGN(const std::uint64_t itemsize, weights_itemsize(states, states.groups[group]));
    const std::uint64_t aligned = alignment_numel(itemsize);
    const bool configured = states.config.parameter_alignment;
    auto found = lay_out_candidate(states, files, group, configured ? aligned : 1);
    if (found.ok() || found.error().code() != ErrorCode::inconsistent) {
        return found;
    }
    auto other = lay_out_candidate(states, files, group, configured ? 1 : aligned);
    return other.ok() && other->weights ? std::move(other) : std::move(found);
}

std::vector<std::string> all_keys(const std::vector<OptimizerFile>& files, std::size_t group) {
    std::vector<std::string> keys;
    std::unordered_set<std::string_view> seen;
    for (const OptimizerFile& file : files) {
        for (const StateEntry& entry : file.groups[group].states) {
            if (seen.insert(entry.key).second) {
                keys.push_back(entry.key);
            }
        }
    }
    return keys;
}

/// A state's form, and where each parameter lies in its shards.
struct MappedState {
    StateForm form;
    std::vector<model::ElementMap> maps;

    [[nodiscard]] model::Elements elements(const model::Parameter& parameter, std::size_t index) const {
        return {form.dtype, parameter.numel, maps[index]};
    }
};

// Maps of a state that is cut as the flat buffer is.
void map_partitioned(const FlatLayout& layout, MappedState& state) {
    state.maps.resize(layout.slots.size());
    for (const Slot& slot : layout.slots) {
        state.maps[slot.parameter] = {state.form.shards, layout.partition_numel, slot.offset_numel, 0};
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
void map_whole_parameters(const FlatLayout& layout, MappedState& state) {
    state.form.whole_parameters = true;
    state.maps.resize(layout.slots.size());
    for (std::size_t rank = layout.world_size; rank-- > 0;) {
        std::uint64_t offset = 0;
        for (const Slot* slot : touched(layout, rank)) {
            state.maps[slot->parameter] = {std::span(state.form.shards).subspan(rank, 1), slot->numel, 0, offset};
            offset += slot->numel;
        }
    }
}

class GroupJoin {
 public:
    GroupJoin(const std::vector<OptimizerFile>& files, const std::vector<RankFile>& ranks, std::size_t group,
              const FlatLayout& layout, const LayoutConfig& config)
        : files_(files), ranks_(ranks), group_(group), layout_(layout), config_(config) {}

    Result<MappedState> master() const {
        MappedState state;
        state.form.dtype = files_.front().groups[group_].master.dtype;
        state.form.example = files_.front().groups[group_].master.node;
        state.form.example_tree = files_.front().archive;
        for (std::size_t rank = 0; rank < files_.size(); ++rank) {
            const StateEntry& entry = files_[rank].groups[group_].master;
            CKPTFS_TRY(check_shard(rank, "single_partition_of_fp32_groups", entry, state.form.dtype));
            state.form.shards.push_back(entry.shard);
        }
        map_partitioned(layout_, state);
        return state;
    }

    /// nullopt: a scalar, kept as it is.
    Result<std::optional<MappedState>> state(const std::string& key) const {
        const std::vector<const StateEntry*> entries = entries_of(key);
        MappedState state;
        StateForm& form = state.form;
        form.muon_momentum = key == "momentum_buffer" && files_.front().groups[group_].use_muon &&
                             files_.front().format == Format::zero12;
        const bool whole = is_whole(key, form, entries);
        form.form_is_guess = whole && !config_.known && is_partitioned(key, entries);
        if (!whole && !is_partitioned(key, entries)) {
            CKPTFS_TRY(check_scalar(key, entries));
            return std::optional<MappedState>();
        }
        for (const StateEntry* entry : entries) {
            if (entry != nullptr && form.example == nullptr) {
                form.example = entry->node;  // of the first rank that has it, whose tree is always kept
                form.example_rank = form.shards.size();
                form.example_tree = files_[form.example_rank].archive;
                form.dtype = entry->dtype;
            }
            form.shards.push_back(entry != nullptr ? entry->shard : model::Shard{});
        }
        if (whole) {
            for (std::size_t rank = 0; rank < entries.size(); ++rank) {
                const StateEntry* entry = entries[rank];
                if (entry != nullptr && (entry->dtype != form.dtype || entry->dimensions != 1)) {
                    return ranks_error(rank, "state '" + key + "' is not the flat tensor of " +
                                                 std::string(model::name(form.dtype)) + " that other ranks have");
                }
            }
            map_whole_parameters(layout_, state);
            return std::optional(std::move(state));
        }
        for (std::size_t rank = 0; rank < entries.size(); ++rank) {
            CKPTFS_TRY(check_shard(rank, "state '" + key + "'", *entries[rank], form.dtype));
        }
        map_partitioned(layout_, state);
        return std::optional(std::move(state));
    }

    /// The step that all ranks are at.
    Result<std::optional<double>> check_steps() const {
        CKPTFS_ASSIGN(const std::optional<double> first, step_of(0));
        std::optional<double> known = first;
        for (std::size_t rank = 1; rank < files_.size(); ++rank) {
            CKPTFS_ASSIGN(const std::optional<double> step, step_of(rank));
            if (step != first && !(files_[rank].groups[group_].use_muon && !(step && first))) {
                return ranks_error(
                    rank, "it is at optimizer step " + step_text(step) + ", rank 0 at step " + step_text(first));
            }
            known = known ? known : step;
        }
        return known;
    }

 private:
    [[nodiscard]] Result<std::optional<double>> step_of(std::size_t rank) const {
        const GroupEntry& group = files_[rank].groups[group_];
        if (const StateEntry* entry = group.states.find("step")) {
            return scalar_value(*entry);
        }
        return group.step ? group.step : files_[rank].elastic_step;
    }

    // In a plain file a state is as long as the partition, in an elastic one shorter by the rank's padding.
    [[nodiscard]] std::uint64_t state_numel(std::size_t rank) const {
        if (files_.front().format != Format::zero12_elastic) {
            return layout_.partition_numel;
        }
        const std::uint64_t padding = files_[rank].groups[group_].padding_numel;
        const std::uint64_t numel = layout_.partition_numel;
        // Writers before 0.16.4 charge all padding to the last rank and slice [:numel - padding] all the same, which
        // for a negative bound leaves numel + (numel - padding) elements.
        const std::uint64_t kept = padding <= numel ? numel : 2 * numel;
        return padding >= kept ? 0 : kept - padding;
    }

    [[nodiscard]] std::vector<const StateEntry*> entries_of(const std::string& key) const {
        std::vector<const StateEntry*> entries;
        for (const OptimizerFile& file : files_) {
            entries.push_back(file.groups[group_].states.find(key));
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

    [[nodiscard]] bool is_whole(const std::string& key, const StateForm& form,
                                const std::vector<const StateEntry*>& entries) const {
        // An offloaded optimizer keeps Muon's momentum as every other state. Lengths decide where both could be.
        if (!form.muon_momentum || (config_.optimizer_offloaded && is_partitioned(key, entries))) {
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
            if (entry != nullptr && !entry->tensor && entry->held_numel > 1) {
                return refuse(Refusal::not_element_wise, ranks_[rank].file->name(),
                              "state '" + key + "' is an object with tensors inside");
            }
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
        return mixed_saves(ranks_[rank].file->name() + ": parameter group " + std::to_string(group_) + ": " + finding);
    }

    Result<void> check_shard(std::size_t rank, const std::string& what, const StateEntry& entry,
                             model::DType dtype) const {
        const std::uint64_t needed = layout_.used_numel(rank);
        if (entry.shard.numel < needed || entry.dtype != dtype) {
            return ranks_error(rank, what + " has " + std::to_string(entry.shard.numel) + " elements of " +
                                         std::string(model::name(entry.dtype)) + ", expected at least " +
                                         std::to_string(needed) + " of " + std::string(model::name(dtype)));
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

// The content of a group whose parameters are `listed`, without weights.
model::Group group_content(const std::vector<Parameter>& listed, const MappedState& master,
                           const std::vector<MappedState>& states) {
    model::Group group;
    for (std::size_t index = 0; index < listed.size(); ++index) {
        model::Parameter& parameter = group.parameters.emplace_back(listed[index].in_content());
        parameter.master = master.elements(parameter, index);
        for (const MappedState& state : states) {
            parameter.states.push_back(state.elements(parameter, index));
        }
    }
    return group;
}

}  // namespace

Result<void> join_ranks(const ModelStates& states, const std::vector<OptimizerFile>& files, Family& family,
                        model::Rank& content) {
    CKPTFS_TRY(check_same_shape(states, files, family.optimizer));
    for (std::size_t g = 0; g < states.groups.size(); ++g) {
        CKPTFS_ASSIGN(GroupLayout found, find_group_layout(states, files, g));
        const GroupJoin join(files, family.optimizer, g, found.layout, states.config);
        CKPTFS_ASSIGN(const std::optional<double> step, join.check_steps());
        CKPTFS_ASSIGN(MappedState master, join.master());
        std::vector<std::string> keys;
        std::vector<MappedState> mapped;
        for (const std::string& key : all_keys(files, g)) {
            CKPTFS_ASSIGN(std::optional<MappedState> state, join.state(key));
            if (state) {
                keys.push_back(key);
                mapped.push_back(*std::move(state));
            }
        }
        model::Group& group = content.groups.emplace_back(group_content(found.parameters, master, mapped));
        group.states = std::move(keys);
        group.step = step;
        GroupForm& form = family.groups.emplace_back();
        form.master = std::move(master.form);
        for (MappedState& state : mapped) {
            form.states.push_back(std::move(state.form));
        }
        form.has_state =
            std::any_of(files.begin(), files.end(), [g](const OptimizerFile& f) { return f.groups[g].has_state; });
        FlatForm& flat = form.flat.emplace();
        CKPTFS_ASSIGN(flat.other_rules, find_other_rules(states, files, g, found.rules));
        flat.rules = found.rules;
        flat.weights = std::move(found.weights);
        flat.weights_itemsize = found.weights_itemsize;
    }
    return {};
}

}  // namespace ckptfs::zero
