// Reads a tag directory: takes inventory, checks that it is whole, and joins the ranks' files into a Checkpoint.
#include "zero/reader.h"

#include <algorithm>
#include <map>
#include <set>

#include "zero/file_names.h"
#include "zero/group_reader.h"
#include "zero/model_states.h"
#include "zero/optimizer_file.h"
#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

struct Inventory {
    std::map<std::string, std::string> model_states;  // model-parallel rank -> name
    std::vector<std::pair<ShardName, std::string>> optimizer;
    std::string stage3;  // a file that only stage 3 writes
    std::string expert;
    bool swapped = false;
    bool universal = false;

    [[nodiscard]] bool any_zero() const {
        return !model_states.empty() || !optimizer.empty() || !stage3.empty() || !expert.empty();
    }
};

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
        switch (name->role) {
            case FileRole::model_states:
                inventory.model_states.emplace(name->model_rank, entry.name);
                break;
            case FileRole::model_states_shard:
                inventory.stage3 = entry.name;
                break;
            case FileRole::optimizer_shard:
                inventory.optimizer.emplace_back(*std::move(name), entry.name);
                break;
            case FileRole::expert:
                inventory.expert = entry.name;
                break;
        }
    }
    return inventory;
}

std::string join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
}

Result<void> refuse_by_listing(const Inventory& inventory, const std::string& path) {
    if (!inventory.expert.empty()) {
        return refuse(Refusal::mixture_of_experts, path, inventory.expert);
    }
    if (!inventory.stage3.empty()) {
        return refuse(Refusal::stage3, path, inventory.stage3);
    }
    if (inventory.model_states.size() > 1) {
        return refuse(Refusal::model_parallel, path, inventory.model_states.rbegin()->second);
    }
    if (inventory.swapped) {
        return refuse(Refusal::nvme_offload, path, "offloaded_tensors");
    }
    return {};
}

// The optimizer files of ranks 0 to world_size - 1, with the prefix that the engine would look for.
Result<std::vector<std::string>> optimizer_names(const Inventory& inventory, const ModelStates& states,
                                                 const std::string& path, Checkpoint& checkpoint) {
    std::map<std::string, std::map<std::uint64_t, std::pair<std::string, std::string>>> by_prefix;
    for (const auto& [shard, name] : inventory.optimizer) {
        by_prefix[shard.prefix][shard.data_rank] = {name, shard.suffix};
    }
    const std::string configured = states.config.bf16 ? "bf16_" : "";
    const auto chosen = by_prefix.contains(configured) ? by_prefix.find(configured) : by_prefix.begin();
    checkpoint.optimizer_prefix = chosen->first;
    const auto& ranks = chosen->second;
    std::vector<std::string> names;
    for (std::uint64_t rank = 0; rank < states.world_size; ++rank) {
        const auto found = ranks.find(rank);
        if (found == ranks.end()) {
            return Error(
                ErrorCode::incomplete,
                path + ": the optimizer file of rank " + std::to_string(rank) + " is missing: dp_world_size is " +
                    std::to_string(states.world_size) + ", and files of " + std::to_string(ranks.size()) +
                    " ranks are there; wait for a running save to finish, or gather the files of all nodes here");
        }
        names.push_back(found->second.first);
        checkpoint.optimizer_suffix = found->second.second;
    }
    return names;
}

Result<void> check_unchanged(const Source& source, const std::string& directory, const ModelParallelRank& family) {
    const auto check = [&](const std::string& name, const FileStamp& stamp) -> Result<void> {
        CKPTFS_ASSIGN(const FileInfo now, source.stat_target(join(directory, name)));
        if (now.stamp != stamp) {
            return Error(ErrorCode::stale,
                         source.display(join(directory, name)) +
                             " changed while it was being read; wait for the save to finish and try again");
        }
        return {};
    };
    CKPTFS_TRY(check(family.model_states_name, family.model_states_info.stamp));
    for (const RankFile& rank : family.optimizer) {
        CKPTFS_TRY(check(rank.name, rank.info.stamp));
    }
    return {};
}

// Reads every rank's optimizer file; keeps one tree for all ranks that share its structure.
Result<std::vector<OptimizerFile>> read_ranks(const Source& source, const std::string& directory,
                                              const std::vector<std::string>& names, ModelParallelRank& family) {
    std::vector<OptimizerFile> files;
    std::vector<std::pair<std::string, std::shared_ptr<const pt::Archive>>> structures;
    for (const std::string& name : names) {
        RankFile rank;
        rank.name = name;
        CKPTFS_ASSIGN(rank.info, source.stat_target(join(directory, name)));
        CKPTFS_ASSIGN(rank.file, source.open(join(directory, name)));
        CKPTFS_ASSIGN(OptimizerFile file, read_optimizer_file(rank.file, names.size()));
        rank.location = file.location;
        for (const pt::Archive::Storage& storage : file.archive->storages()) {
            rank.places.push_back(storage.place);
        }
        CKPTFS_ASSIGN(std::string skeleton, file.skeleton());
        const auto same = std::find_if(structures.begin(), structures.end(), [&](const auto& structure) {
            return structure.first == skeleton && structure.second->storages().size() == rank.places.size();
        });
        if (same == structures.end()) {
            rank.structure = file.archive;
            structures.emplace_back(std::move(skeleton), file.archive);
        } else {
            rank.structure = same->second;
            file.forget_tree();
        }
        files.push_back(std::move(file));
        family.optimizer.push_back(std::move(rank));
    }
    return files;
}

}  // namespace

bool is_tag(const std::vector<DirectoryEntry>& listing) {
    const Inventory inventory = take_inventory(listing);
    return !inventory.universal && inventory.any_zero();
}

std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) {
    std::vector<std::string> names;
    for (const DirectoryEntry& entry : listing) {
        if (entry.type == FileType::directory) {
            continue;
        }
        const auto name = parse_shard_name(entry.name);
        if (name && name->role != FileRole::expert) {
            names.push_back(entry.name);
        }
    }
    return names;
}

Result<std::shared_ptr<const Checkpoint>> read_checkpoint(const Source& source, const std::string& directory) {
    const std::string path = source.display(directory);
    CKPTFS_ASSIGN(const std::vector<DirectoryEntry> listing, source.list(directory));
    const Inventory inventory = take_inventory(listing);
    if (inventory.universal || !inventory.any_zero()) {
        return Error(ErrorCode::not_a_checkpoint,
                     path +
                         ": expected ZeRO model states (mp_rank_00_model_states.pt) and optimizer files "
                         "(*zero_pp_rank_*_optim_states.pt), and found none");
    }
    CKPTFS_TRY(refuse_by_listing(inventory, path));
    if (inventory.model_states.empty()) {
        return Error(ErrorCode::incomplete,
                     path + ": mp_rank_00_model_states.pt is missing beside " +
                         std::to_string(inventory.optimizer.size()) +
                         " optimizer files; rank 0's node wrote it: wait for the save, or copy it here");
    }
    auto checkpoint = std::make_shared<Checkpoint>();
    ModelParallelRank family;
    family.model_states_name = inventory.model_states.begin()->second;
    CKPTFS_ASSIGN(family.model_states_info, source.stat_target(join(directory, family.model_states_name)));
    CKPTFS_ASSIGN(std::shared_ptr<const File> model_file, source.open(join(directory, family.model_states_name)));
    CKPTFS_ASSIGN(const ModelStates states, read_model_states(std::move(model_file)));
    family.model_states = states.archive;
    checkpoint->world_size = states.world_size;
    checkpoint->config = states.config;
    checkpoint->deepspeed_version = states.deepspeed_version;
    if (states.model_parallel > 1) {
        return refuse(Refusal::model_parallel, path, "mp_world_size is " + std::to_string(states.model_parallel));
    }
    if (states.holds_optimizer) {
        checkpoint->format = Format::stage0;
    } else if (inventory.optimizer.empty()) {
        return Error(ErrorCode::incomplete, path +
                                                ": model states without optimizer files: the checkpoint was saved "
                                                "weights only, or its save has only begun; "
                                                "weights need no re-cut, load them from the source");
    } else {
        if (states.config.optimizer_on_nvme) {
            return refuse(Refusal::nvme_offload, path, "offload_optimizer.device is nvme in ds_config");
        }
        CKPTFS_ASSIGN(const std::vector<std::string> names, optimizer_names(inventory, states, path, *checkpoint));
        CKPTFS_ASSIGN(const std::vector<OptimizerFile> files, read_ranks(source, directory, names, family));
        checkpoint->format = files.front().format;
        checkpoint->stage = files.front().stage;
        CKPTFS_ASSIGN(family.groups, join_ranks(states, files, family.optimizer));
    }
    CKPTFS_TRY(check_unchanged(source, directory, family));
    checkpoint->model_parallel.push_back(std::move(family));
    return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

}  // namespace ckptfs::zero
