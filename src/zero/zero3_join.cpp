// Checks that the ranks of a stage-3 checkpoint agree, and maps every parameter to their shares.
#include "zero/zero3_join.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "zero/mixed_saves.h"
#include "zero/rank_files.h"
#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

model::Shard shard_in(const StateEntry& entry, const pt::RecordPlaces& places) {
    const pt::RecordPlace place = places[entry.storage];
    return {place.file, place.offset + entry.storage_offset, entry.shard.numel};
}

bool same_parameters(const std::vector<Parameter>& a, const std::vector<Parameter>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Parameter& left, const Parameter& right) {
        return left.name == right.name && left.shape == right.shape;
    });
}

/// "<first>_<last>", of numbers that a model can have; nullopt for another text.
std::optional<std::pair<std::int64_t, std::int64_t>> parse_ds_id(std::string_view text) {
    std::uint32_t first = 0;
    std::uint32_t last = 0;
    const char* const end = text.data() + text.size();
    const auto [split, bad_first] = std::from_chars(text.data(), end, first);
    if (bad_first != std::errc() || split == end || *split != '_') {
        return std::nullopt;
    }
    const auto [rest, bad_last] = std::from_chars(split + 1, end, last);
    if (bad_last != std::errc() || rest != end) {
        return std::nullopt;
    }
    return std::pair<std::int64_t, std::int64_t>(first, last);
}

/// The ranks of one family, and what is the same on all of them.
class Join {
 public:
    Join(const std::vector<Zero3Rank>& ranks, Family& family, model::Rank& content)
        : ranks_(ranks), first_(ranks.front()), family_(family), zero3_(*family.zero3), content_(content) {
        // What equal pickles say needs to be looked at once.
        std::unordered_set<const void*> seen;
        for (const Zero3Rank& rank : ranks_) {
            if (seen.insert(rank.model_states.get()).second) {
                model_states_.push_back(&rank);
            }
            if (seen.insert(rank.optimizer.get()).second) {
                optimizers_.push_back(&rank);
            }
        }
    }

    Result<void> run() {
        CKPTFS_TRY(check_model_states());
        CKPTFS_TRY(check_partition_counts());
        CKPTFS_TRY(find_groups());
        CKPTFS_TRY(check_optimizers());
        for (std::size_t g = 0; g < family_.groups.size(); ++g) {
            CKPTFS_TRY(join_group(g));
        }
        CKPTFS_TRY(check_steps());
        CKPTFS_TRY(join_frozen());
        find_ds_ids();
        return {};
    }

 private:
    [[nodiscard]] static Error disagreement(const std::string& path, const std::string& finding) {
        return mixed_saves(path + ": " + finding);
    }

    Result<void> check_model_states() const {
        const Zero3ModelStates& expected = *first_.model_states;
        for (const Zero3Rank* rank : model_states_) {
            const Zero3ModelStates& found = *rank->model_states;
            if (found.states.world_size != expected.states.world_size ||
                found.states.model_parallel != expected.states.model_parallel) {
                return disagreement(rank->model_states_path,
                                    "dp_world_size is " + std::to_string(found.states.world_size) +
                                        ", but rank 0's is " + std::to_string(expected.states.world_size));
            }
            if (found.states.global_steps != expected.states.global_steps) {
                return disagreement(rank->model_states_path,
                                    "global_steps is " + std::to_string(found.states.global_steps.value_or(0)) +
                                        ", but rank 0's is " +
                                        std::to_string(expected.states.global_steps.value_or(0)));
            }
            const auto& groups = found.states.groups;
            if (!std::equal(groups.begin(), groups.end(), expected.states.groups.begin(), expected.states.groups.end(),
                            same_parameters)) {
                return disagreement(rank->model_states_path, "param_shapes lists other parameters than rank 0's");
            }
        }
        return {};
    }

    Result<void> check_partition_counts() const {
        const std::uint64_t expected = ranks_.size();
        const std::uint64_t count = first_.optimizer->partition_count;
        for (const Zero3Rank* rank : optimizers_) {
            if (rank->optimizer->partition_count != count) {
                return disagreement(rank->optimizer_path, "partition_count is " +
                                                              std::to_string(rank->optimizer->partition_count) +
                                                              ", but rank 0's is " + std::to_string(count));
            }
        }
        if (count != 0 && count < expected && expected % count == 0) {
            return refuse(
                Refusal::mics, first_.optimizer_path,
                "partition_count is " + std::to_string(count) + ", dp_world_size " + std::to_string(expected));
        }
        if (count != expected) {
            return disagreement(first_.optimizer_path, "this file was written by " + std::to_string(count) +
                                                           " ranks, but the model states say dp_world_size " +
                                                           std::to_string(expected));
        }
        return {};
    }

    Result<void> find_groups() {
        const auto& lists = first_.model_states->states.groups;
        const Zero3OptimizerFile& optimizer = *first_.optimizer;
        if (lists.size() != optimizer.sub_groups.size()) {
            return disagreement(first_.optimizer_path, "it holds " + std::to_string(optimizer.sub_groups.size()) +
                                                           " sub-groups, but param_shapes of the model states lists " +
                                                           std::to_string(lists.size()));
        }
        std::size_t next = 0;
        for (const std::size_t count : optimizer.group_sub_groups) {
            const std::size_t group_index = family_.groups.size();
            family_.groups.emplace_back();
            model::Group& group = content_.groups.emplace_back();
            for (const std::size_t end = next + count; next < end; ++next) {
                const std::vector<Parameter>& list = lists[next];
                SubGroup sub_group{group_index, group.parameters.size(), list.size(), 0};
                for (const Parameter& parameter : list) {
                    sub_group.flat_numel += partition_numel(parameter.numel, ranks_.size());
                }
                for (const Parameter& parameter : list) {
                    group.parameters.push_back(parameter.in_content());
                }
                zero3_.sub_groups.push_back(sub_group);
            }
            std::vector<std::uint64_t> numels;
            for (const model::Parameter& parameter : group.parameters) {
                numels.push_back(parameter.numel);
            }
            if (const auto checked = check_numels(numels, ranks_.size()); !checked.ok()) {
                return checked.error().within(first_.model_states_path + ": param_shapes");
            }
        }
        return {};
    }

    Result<void> check_optimizers() const {
        const Zero3OptimizerFile& expected = *first_.optimizer;
        for (const Zero3Rank* rank : optimizers_) {
            const Zero3OptimizerFile& found = *rank->optimizer;
            if (found.group_sub_groups != expected.group_sub_groups) {
                return disagreement(rank->optimizer_path, "its parameter groups have other sub-groups than rank 0's");
            }
            for (std::size_t k = 0; k < found.sub_groups.size(); ++k) {
                const StateEntry& master = found.sub_groups[k].master;
                if (master.shard.numel != zero3_.sub_groups[k].flat_numel) {
                    return disagreement(rank->optimizer_path, "fp32_flat_groups[" + std::to_string(k) + "] has " +
                                                                  std::to_string(master.shard.numel) +
                                                                  " elements, expected " +
                                                                  std::to_string(zero3_.sub_groups[k].flat_numel));
                }
            }
        }
        return {};
    }

    [[nodiscard]] std::vector<std::size_t> sub_groups_of(std::size_t g) const {
        std::vector<std::size_t> indices;
        const std::vector<SubGroup>& all = zero3_.sub_groups;  // in the order of their groups
        const auto first =
            std::lower_bound(all.begin(), all.end(), g,
                             [](const SubGroup& sub_group, std::size_t group) { return sub_group.group < group; });
        for (auto at = first; at != all.end() && at->group == g; ++at) {
            indices.push_back(static_cast<std::size_t>(at - all.begin()));
        }
        return indices;
    }

    Result<void> join_group(std::size_t g) {
        GroupForm& form = family_.groups[g];
        model::Group& group = content_.groups[g];
        const std::vector<std::size_t> indices = sub_groups_of(g);
        if (indices.empty()) {
            return {};
        }
        const SubGroupEntry& example = first_.optimizer->sub_groups[indices.front()];
        CKPTFS_TRY(join_state(
            indices, "fp32", [](const SubGroupEntry& entry) { return &entry.master; }, form.master,
            [](model::Parameter& parameter, const model::Elements& elements) { parameter.master = elements; }));
        form.has_state = example.has_state;
        CKPTFS_TRY(check_keys(indices, example));
        for (const StateEntry& entry : example.states) {
            const std::string& key = entry.key;
            if (!is_element_wise(indices, key)) {
                CKPTFS_TRY(check_scalar(indices, key));
                continue;
            }
            group.states.push_back(key);
            CKPTFS_TRY(join_state(
                indices, key, [&key](const SubGroupEntry& of) { return of.states.find(key); },
                form.states.emplace_back(),
                [](model::Parameter& parameter, const model::Elements& elements) {
                    parameter.states.push_back(elements);
                }));
        }
        return {};
    }

    // The optimizer steps all sub-groups of a group alike, so each must have what the first one has.
    Result<void> check_keys(const std::vector<std::size_t>& indices, const SubGroupEntry& example) const {
        for (const Zero3Rank* rank : optimizers_) {
            for (const std::size_t k : indices) {
                const SubGroupEntry& found = rank->optimizer->sub_groups[k];
                if (found.has_state != rank->optimizer->sub_groups[indices.front()].has_state) {
                    return refuse(Refusal::partial_offload, rank->optimizer_path,
                                  "sub-group " + std::to_string(found.has_state ? indices.front() : k) +
                                      " has no optimizer states, sub-group " +
                                      std::to_string(found.has_state ? k : indices.front()) + " has");
                }
                const bool same = std::all_of(example.states.begin(), example.states.end(),
                                              [&](const StateEntry& e) { return found.states.find(e.key) != nullptr; });
                if (!same || found.states.size() != example.states.size() || found.has_state != example.has_state) {
                    return disagreement(rank->optimizer_path,
                                        "sub-group " + std::to_string(k) +
                                            " has other optimizer states than the first sub-group of its group on "
                                            "rank 0");
                }
            }
        }
        return {};
    }

    [[nodiscard]] bool is_element_wise(const std::vector<std::size_t>& indices, const std::string& key) const {
        return key != "step" && std::all_of(optimizers_.begin(), optimizers_.end(), [&](const Zero3Rank* rank) {
                   return std::all_of(indices.begin(), indices.end(), [&](std::size_t k) {
                       const StateEntry* entry = rank->optimizer->sub_groups[k].states.find(key);
                       return entry->dimensions == 1 && entry->shard.numel == zero3_.sub_groups[k].flat_numel;
                   });
               });
    }

    Result<void> check_scalar(const std::vector<std::size_t>& indices, const std::string& key) const {
        for (const Zero3Rank* rank : optimizers_) {
            for (const std::size_t k : indices) {
                const StateEntry* entry = rank->optimizer->sub_groups[k].states.find(key);
                if (!entry->tensor && entry->held_numel > 1) {
                    return refuse(Refusal::not_element_wise, rank->optimizer_path,
                                  "state '" + key + "' is an object with tensors inside");
                }
                if (entry->tensor && entry->shard.numel > 1) {
                    return refuse(Refusal::not_element_wise, rank->optimizer_path,
                                  "state '" + key + "' of sub-group " + std::to_string(k) + " has " +
                                      std::to_string(entry->shard.numel) + " elements in " +
                                      std::to_string(entry->dimensions) + " dimensions, the flat sub-group " +
                                      std::to_string(zero3_.sub_groups[k].flat_numel));
                }
            }
        }
        return {};
    }

    // `entry_of`: from a sub-group of a file to the state's entry. `keep`: gives a parameter its elements.
    template <class EntryOf, class Keep>
    Result<void> join_state(const std::vector<std::size_t>& indices, const std::string& key, const EntryOf& entry_of,
                            StateForm& state, const Keep& keep) {
        state.dtype = entry_of(first_.optimizer->sub_groups[indices.front()])->dtype;
        for (const Zero3Rank* rank : optimizers_) {
            for (const std::size_t k : indices) {
                const StateEntry* entry = entry_of(rank->optimizer->sub_groups[k]);
                if (entry->dtype != state.dtype) {
                    return disagreement(rank->optimizer_path, "'" + key + "' of sub-group " + std::to_string(k) +
                                                                  " holds " + std::string(model::name(entry->dtype)) +
                                                                  ", the first of its group on rank 0 " +
                                                                  std::string(model::name(state.dtype)));
                }
            }
        }
        state.shards.reserve(indices.size() * ranks_.size());
        for (const std::size_t k : indices) {
            for (const Zero3Rank& rank : ranks_) {
                state.shards.push_back(shard_in(*entry_of(rank.optimizer->sub_groups[k]), rank.optimizer_places));
            }
        }
        std::vector<model::Parameter>& parameters =
            content_.groups[zero3_.sub_groups[indices.front()].group].parameters;
        for (std::size_t i = 0; i < indices.size(); ++i) {
            const SubGroup& sub_group = zero3_.sub_groups[indices[i]];
            const std::span<const model::Shard> shards =
                std::span(state.shards).subspan(i * ranks_.size(), ranks_.size());
            std::uint64_t offset = 0;
            for (std::size_t p = sub_group.first; p < sub_group.first + sub_group.count; ++p) {
                const std::uint64_t numel = partition_numel(parameters[p].numel, ranks_.size());
                keep(parameters[p],
                     model::Elements(state.dtype, parameters[p].numel, model::ElementMap{shards, numel, 0, offset}));
                offset += numel;
            }
        }
        return {};
    }

    Result<void> check_steps() {
        for (std::size_t g = 0; g < family_.groups.size(); ++g) {
            const std::vector<std::size_t> indices = sub_groups_of(g);
            if (indices.empty()) {
                continue;
            }
            CKPTFS_ASSIGN(const std::optional<double> expected, step_of(first_, g, indices.front()));
            content_.groups[g].step = expected;
            const auto steps = ask_each<std::optional<double>>(
                ranks_.size() - 1, [&](std::size_t r) { return step_of(ranks_[r + 1], g, indices.front()); });
            for (std::size_t r = 1; r < ranks_.size(); ++r) {
                CKPTFS_ASSIGN(const std::optional<double> step, *steps[r - 1]);
                if (step != expected) {
                    return disagreement(ranks_[r].optimizer_path, "parameter group " + std::to_string(g) +
                                                                      ": it is at optimizer step " + step_text(step) +
                                                                      ", rank 0 at step " + step_text(expected));
                }
            }
            // One step has to do for all sub-groups, as they are cut anew.
            for (const std::size_t k : indices) {
                CKPTFS_ASSIGN(const std::optional<double> step, step_of(first_, g, k));
                if (step != expected) {
                    return disagreement(first_.optimizer_path,
                                        "sub-group " + std::to_string(k) + " is at optimizer step " + step_text(step) +
                                            ", the first of its group at step " + step_text(expected));
                }
            }
        }
        return {};
    }

    [[nodiscard]] static Result<std::optional<double>> step_of(const Zero3Rank& rank, std::size_t group,
                                                               std::size_t sub_group) {
        const StateEntry* entry = rank.optimizer->sub_groups[sub_group].states.find("step");
        if (entry == nullptr) {
            return rank.optimizer->group_steps[group];
        }
        StateEntry in_rank = *entry;
        if (entry->tensor) {
            in_rank.shard = shard_in(*entry, rank.optimizer_places);
        }
        return scalar_value(in_rank);
    }

    Result<void> join_frozen() {
        const std::vector<FrozenEntry>& expected = first_.model_states->frozen;
        for (const Zero3Rank* rank : model_states_) {
            const std::vector<FrozenEntry>& found = rank->model_states->frozen;
            // Ranks whose pickles are equal share what was read.
            const bool same =
                &found == &expected || std::equal(expected.begin(), expected.end(), found.begin(), found.end(),
                                                  [](const FrozenEntry& a, const FrozenEntry& b) {
                                                      return a.parameter.name == b.parameter.name &&
                                                             a.parameter.shape == b.parameter.shape &&
                                                             a.fragment.dtype == b.fragment.dtype &&
                                                             a.fragment.shard.numel == b.fragment.shard.numel;
                                                  });
            if (!same) {
                return disagreement(rank->model_states_path, "its frozen parameters are not rank 0's");
            }
        }
        for (std::size_t i = 0; i < expected.size(); ++i) {
            CKPTFS_TRY(join_frozen_parameter(i));
        }
        return {};
    }

    Result<void> join_frozen_parameter(std::size_t index) {
        const FrozenEntry& entry = first_.model_states->frozen[index];
        const std::uint64_t numel = partition_numel(entry.parameter.numel, ranks_.size());
        const std::string where = first_.model_states_path + ": frozen_param_fragments." + entry.parameter.name;
        if (const auto checked = check_numels({&entry.parameter.numel, 1}, ranks_.size()); !checked.ok()) {
            return checked.error().within(where);
        }
        if (entry.fragment.shard.numel != numel) {
            return disagreement(where, "it has " + std::to_string(entry.fragment.shard.numel) + " elements, expected " +
                                           std::to_string(numel));
        }
        FrozenFragments& frozen = zero3_.frozen.emplace_back();
        frozen.shards.reserve(ranks_.size());
        for (const Zero3Rank& rank : ranks_) {
            frozen.shards.push_back(shard_in(rank.model_states->frozen[index].fragment, rank.model_states_places));
        }
        frozen.parameter = entry.parameter.in_content();
        frozen.parameter.weight =
            model::Elements(entry.fragment.dtype, entry.parameter.numel, model::ElementMap{frozen.shards, numel, 0, 0});
        return {};
    }

    // Engines number parameters as they are made: without zero.Init in the order of `module`, in which tied names and
    // buffers do not count. Files store the numbers of each sub-group's first and last parameter, which are certain.
    void find_ds_ids() {
        std::unordered_map<std::string, std::int64_t> known;
        const std::vector<SubGroupEntry>& entries = first_.optimizer->sub_groups;
        for (std::size_t k = 0; k < entries.size(); ++k) {
            const auto ids = parse_ds_id(entries[k].ds_id);
            const SubGroup& sub_group = zero3_.sub_groups[k];
            if (!ids || sub_group.count == 0) {
                return;
            }
            const std::vector<model::Parameter>& parameters = content_.groups[sub_group.group].parameters;
            known[parameters[sub_group.first].name] = ids->first;
            known[parameters[sub_group.first + sub_group.count - 1].name] = ids->second;
        }
        if (known.empty()) {
            return;
        }
        const std::unordered_map<std::string, std::int64_t> positions = module_positions();
        const std::string& any = content_.groups[zero3_.sub_groups.front().group].parameters.front().name;
        const auto position = positions.find(any);
        const std::int64_t base = position == positions.end() ? 0 : known.at(any) - position->second;
        for (const model::Group& group : content_.groups) {
            std::vector<std::int64_t>& ids = zero3_.ds_ids.emplace_back();
            for (const model::Parameter& parameter : group.parameters) {
                const auto certain = known.find(parameter.name);
                const auto guessed = positions.find(parameter.name);
                ids.push_back(certain != known.end()       ? certain->second
                              : guessed != positions.end() ? base + guessed->second
                                                           : 0);
            }
        }
    }

    [[nodiscard]] std::unordered_map<std::string, std::int64_t> module_positions() const {
        const pickle::Node* root = first_.model_states->states.archive->root();
        std::unordered_set<std::string_view> skipped;
        const pickle::Node* buffers = pickle::find(root, "buffer_names");
        if (buffers != nullptr && buffers->kind == pickle::Kind::list) {
            for (const pickle::Node* name : buffers->items) {
                skipped.insert(name->text);
            }
        }
        for (const auto& [name, owner] : pickle::dict_items(pickle::find(root, "shared_params"))) {
            skipped.insert(name->text);
        }
        std::unordered_map<std::string, std::int64_t> positions;
        for (const auto& [name, value] : pickle::dict_items(pickle::find(root, "module"))) {
            if (!skipped.contains(name->text)) {
                positions.emplace(name->text, static_cast<std::int64_t>(positions.size()));
            }
        }
        return positions;
    }

    const std::vector<Zero3Rank>& ranks_;
    const Zero3Rank& first_;
    Family& family_;
    Zero3Family& zero3_;
    model::Rank& content_;
    std::vector<const Zero3Rank*> model_states_;  // one for each different pickle
    std::vector<const Zero3Rank*> optimizers_;    // the same
};

}  // namespace

Result<void> join_zero3_ranks(const std::vector<Zero3Rank>& ranks, Family& family, model::Rank& content) {
    return Join(ranks, family, content).run();
}

}  // namespace ckptfs::zero
