// Rank numbers are compared as numbers, never as text.
#include "zero/inventory.h"

#include <charconv>

namespace ckptfs::zero {
namespace {

// Too many digits for a number give the largest one, which no checkpoint has.
std::uint64_t number(const std::string& digits) {
    std::uint64_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return result.ec == std::errc() ? value : UINT64_MAX;
}

std::string in_family(const FamilyKey& family) {
    return family.among_others ? " (mp_rank_" + family.rank + ")" : "";
}

}  // namespace

const ModelStatesName* Inventory::first_model_states(std::uint64_t model_rank) const {
    if (!is_stage3()) {
        const auto found = model_states.find(model_rank);
        return found == model_states.end() ? nullptr : &found->second;
    }
    const auto found = model_states_shards.find(model_rank);
    return found == model_states_shards.end() || !found->second.contains(0) ? nullptr : &found->second.at(0);
}

Inventory take_inventory(const std::vector<DirectoryEntry>& listing) {
    Inventory inventory;
    for (const DirectoryEntry& entry : listing) {
        if (entry.type != FileType::regular) {  // directories may be symbolic links
            inventory.universal |= entry.name == "zero";
            inventory.swapped |= entry.name == "offloaded_tensors";
        }
        if (entry.type == FileType::directory) {
            continue;
        }
        auto name = parse_shard_name(entry.name);
        if (!name) {
            continue;
        }
        const std::uint64_t model_rank = number(name->model_rank);
        switch (name->role) {
            case FileRole::model_states:
                inventory.model_states.emplace(model_rank, ModelStatesName{name->model_rank, entry.name});
                break;
            case FileRole::model_states_shard:
                inventory.model_states_shards[model_rank].emplace(name->data_rank,
                                                                  ModelStatesName{name->model_rank, entry.name});
                break;
            case FileRole::optimizer_shard:
                inventory.optimizer.emplace_back(*std::move(name), entry.name);
                break;
            case FileRole::layer:
                inventory.layers[name->layer].emplace(name->slice, entry.name);
                break;
            case FileRole::expert:
                inventory.expert = entry.name;
                break;
        }
    }
    return inventory;
}

Result<OptimizerNames> optimizer_names(const Inventory& inventory, const FamilyKey& family, const LayoutConfig& config,
                                       const std::string& path) {
    std::map<std::string, std::map<std::uint64_t, std::pair<std::string, std::string>>> by_prefix;
    for (const auto& [shard, name] : inventory.optimizer) {
        if (shard.model_rank == family.rank) {
            by_prefix[shard.prefix][shard.data_rank] = {name, shard.suffix};
        }
    }
    if (by_prefix.size() > 1 && !config.known) {
        return Error(ErrorCode::inconsistent,
                     path +
                         ": it holds optimizer files with the prefix bf16_ and without it, and no ds_config is "
                         "stored that tells which are of this save; remove the others");
    }
    const std::string configured = config.bf16 ? "bf16_" : "";
    const auto chosen = by_prefix.contains(configured) ? by_prefix.find(configured) : by_prefix.begin();
    OptimizerNames result;
    std::map<std::uint64_t, std::pair<std::string, std::string>> ranks;
    if (chosen != by_prefix.end()) {
        result.prefix = chosen->first;
        ranks = chosen->second;
    }
    for (std::uint64_t rank = 0; rank < family.dp_world_size; ++rank) {
        const auto found = ranks.find(rank);
        if (found == ranks.end()) {
            return Error(
                ErrorCode::incomplete,
                path + ": the optimizer file of rank " + std::to_string(rank) + in_family(family) +
                    " is missing: dp_world_size is " + std::to_string(family.dp_world_size) + ", and files of " +
                    std::to_string(ranks.size()) +
                    " ranks are there; wait for a running save to finish, or gather the files of all nodes here");
        }
        result.names.push_back(found->second.first);
        result.suffix = found->second.second;
    }
    return result;
}

Result<std::vector<std::string>> model_states_names(const Inventory& inventory, const FamilyKey& family,
                                                    const std::string& path) {
    const std::map<std::uint64_t, ModelStatesName>& ranks = inventory.model_states_shards.at(number(family.rank));
    std::vector<std::string> names;
    for (std::uint64_t rank = 0; rank < family.dp_world_size; ++rank) {
        const auto found = ranks.find(rank);
        if (found == ranks.end()) {
            const bool only_first = ranks.size() == 1;
            return Error(ErrorCode::incomplete,
                         path + ": the model states of rank " + std::to_string(rank) + in_family(family) +
                             " are missing: dp_world_size is " + std::to_string(family.dp_world_size) +
                             (only_first ? ", and only rank 0's are there, as when a job that runs with load_universal "
                                           "saves; take a checkpoint that was saved without it, or "
                                         : ", and those of " + std::to_string(ranks.size()) + " ranks are there; ") +
                             "wait for a running save to finish, or gather the files of all nodes here");
        }
        names.push_back(found->second.name);
    }
    return names;
}

}  // namespace ckptfs::zero
