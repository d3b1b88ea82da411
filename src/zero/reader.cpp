// Reads a tag directory: takes inventory, checks that it is whole, and joins the ranks' files into a Checkpoint.
#include "zero/reader.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "util/path.h"
#include "zero/file_names.h"
#include "zero/group_reader.h"
#include "zero/model_states.h"
#include "zero/optimizer_file.h"
#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

struct ModelStatesName {
    std::string rank;  // MM, as it is written
    std::string name;
};

struct Inventory {
    std::map<std::uint64_t, ModelStatesName> model_states;  // by model-parallel rank
    std::vector<std::pair<ShardName, std::string>> optimizer;
    std::string stage3;  // a file that only stage 3 writes
    std::string expert;
    bool swapped = false;
    bool universal = false;

    [[nodiscard]] bool any_zero() const {
        return !model_states.empty() || !optimizer.empty() || !stage3.empty() || !expert.empty();
    }
};

// Too many digits for a number give the largest one, which no checkpoint has.
std::uint64_t number(const std::string& digits) {
    std::uint64_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return result.ec == std::errc() ? value : UINT64_MAX;
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
        switch (name->role) {
            case FileRole::model_states:
                inventory.model_states.emplace(number(name->model_rank), ModelStatesName{name->model_rank, entry.name});
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

Result<void> refuse_by_listing(const Inventory& inventory, const std::string& path) {
    if (!inventory.expert.empty()) {
        return refuse(Refusal::mixture_of_experts, path, inventory.expert);
    }
    if (!inventory.stage3.empty()) {
        return refuse(Refusal::stage3, path, inventory.stage3);
    }
    if (inventory.swapped) {
        return refuse(Refusal::nvme_offload, path, "offloaded_tensors");
    }
    return {};
}

// The optimizer files of one family's ranks 0 to dp_world_size - 1, with the prefix that the engine would look for.
Result<std::vector<std::string>> optimizer_names(const Inventory& inventory, const ModelStates& states,
                                                 const std::string& model_rank, const std::string& path,
                                                 Checkpoint& checkpoint) {
    std::map<std::string, std::map<std::uint64_t, std::pair<std::string, std::string>>> by_prefix;
    for (const auto& [shard, name] : inventory.optimizer) {
        if (shard.model_rank == model_rank) {
            by_prefix[shard.prefix][shard.data_rank] = {name, shard.suffix};
        }
    }
    const std::string configured = states.config.bf16 ? "bf16_" : "";
    const auto chosen = by_prefix.contains(configured) ? by_prefix.find(configured) : by_prefix.begin();
    std::map<std::uint64_t, std::pair<std::string, std::string>> ranks;
    if (chosen != by_prefix.end()) {
        checkpoint.optimizer_prefix = chosen->first;
        ranks = chosen->second;
    }
    std::vector<std::string> names;
    for (std::uint64_t rank = 0; rank < states.world_size; ++rank) {
        const auto found = ranks.find(rank);
        if (found == ranks.end()) {
            return Error(
                ErrorCode::incomplete,
                path + ": the optimizer file of rank " + std::to_string(rank) +
                    (states.model_parallel > 1 ? " (mp_rank_" + model_rank + ")" : "") +
                    " is missing: dp_world_size is " + std::to_string(states.world_size) + ", and files of " +
                    std::to_string(ranks.size()) +
                    " ranks are there; wait for a running save to finish, or gather the files of all nodes here");
        }
        names.push_back(found->second.first);
        checkpoint.optimizer_suffix = found->second.second;
    }
    return names;
}

Result<void> check_unchanged(const Source& source, const std::string& directory, const ModelParallelRank& family) {
    const auto check = [&](const std::string& name, const FileStamp& stamp) -> Result<void> {
        CKPTFS_ASSIGN(const FileInfo now, source.stat_target(join_path(directory, name)));
        if (now.stamp != stamp) {
            return Error(ErrorCode::stale,
                         source.display(join_path(directory, name)) +
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
        CKPTFS_ASSIGN(rank.info, source.stat_target(join_path(directory, name)));
        CKPTFS_ASSIGN(rank.file, source.open(join_path(directory, name)));
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

// What every family's files must say alike.
struct Common {
    std::uint64_t dp_world_size = 0;
    std::uint64_t model_parallel = 1;
    Format format = Format::zero12;
    int stage = 0;
    std::string prefix;
    std::string suffix;
    std::int64_t global_steps = 0;

    bool operator==(const Common&) const = default;
};

std::int64_t global_steps(const ModelStates& states) {
    const pickle::Node* node = pickle::find(states.archive->root(), "global_steps");
    return node != nullptr && node->kind == pickle::Kind::integer ? node->integer : 0;
}

/// Reads a tag family by family.
class TagReading {
 public:
    TagReading(const Source& source, std::string directory, const Inventory& inventory)
        : source_(source),
          directory_(std::move(directory)),
          path_(source.display(directory_)),
          inventory_(inventory),
          checkpoint_(std::make_shared<Checkpoint>()) {}

    Result<std::shared_ptr<const Checkpoint>> read() {
        std::uint64_t degree = 1;
        Common first;
        for (std::uint64_t rank = 0; rank < degree; ++rank) {
            CKPTFS_ASSIGN(const ModelStates states, open_model_states(rank));
            CKPTFS_TRY(read_shards(states));
            const Common common{states.world_size,   states.model_parallel,         checkpoint_->format,
                                checkpoint_->stage,  checkpoint_->optimizer_prefix, checkpoint_->optimizer_suffix,
                                global_steps(states)};
            if (rank == 0) {
                first = common;
                degree = states.model_parallel;
            } else if (common != first) {
                return Error(
                    ErrorCode::inconsistent,
                    source_.display(join_path(directory_, checkpoint_->model_parallel.back().model_states_name)) +
                        ": its world sizes, step or layout are not those of model-parallel rank 0; files of "
                        "two saves lie in one directory: wait for the running save, or restore the files");
            }
        }
        for (const ModelParallelRank& family : checkpoint_->model_parallel) {
            CKPTFS_TRY(check_unchanged(source_, directory_, family));
        }
        return std::shared_ptr<const Checkpoint>(std::move(checkpoint_));
    }

 private:
    // The next family, without its optimizer files.
    Result<ModelStates> open_model_states(std::uint64_t rank) {
        const auto found = inventory_.model_states.find(rank);
        if (found == inventory_.model_states.end()) {
            return missing_model_states(rank);
        }
        ModelParallelRank& family = checkpoint_->model_parallel.emplace_back();
        family.rank = found->second.rank;
        family.model_states_name = found->second.name;
        const std::string file = join_path(directory_, family.model_states_name);
        CKPTFS_ASSIGN(family.model_states_info, source_.stat_target(file));
        CKPTFS_ASSIGN(std::shared_ptr<const File> opened, source_.open(file));
        CKPTFS_ASSIGN(ModelStates states, read_model_states(std::move(opened)));
        family.model_states = states.archive;
        if (rank == 0) {
            checkpoint_->dp_world_size = states.world_size;
            checkpoint_->config = states.config;
            checkpoint_->deepspeed_version = states.deepspeed_version;
        }
        return states;
    }

    [[nodiscard]] Error missing_model_states(std::uint64_t rank) const {
        const std::string digits = std::to_string(rank);
        const std::string name = "mp_rank_" + std::string(digits.size() < 2 ? "0" : "") + digits + "_model_states.pt";
        if (rank > 0) {
            return {ErrorCode::incomplete, path_ + ": " + name +
                                               " is missing, but mp_world_size counts it; wait for a running save to "
                                               "finish, or gather the files of all nodes here"};
        }
        return {ErrorCode::incomplete, path_ + ": " + name + " is missing beside " +
                                           std::to_string(inventory_.optimizer.size()) +
                                           " optimizer files; rank 0's node wrote it: wait for the save, or copy it "
                                           "here"};
    }

    // The optimizer files of the last family, whose model states are `states`.
    Result<void> read_shards(const ModelStates& states) {
        ModelParallelRank& family = checkpoint_->model_parallel.back();
        if (states.holds_optimizer) {
            checkpoint_->format = Format::stage0;
            return {};
        }
        if (inventory_.optimizer.empty()) {
            return Error(ErrorCode::incomplete, path_ +
                                                    ": model states without optimizer files: the checkpoint was saved "
                                                    "weights only, or its save has only begun; "
                                                    "weights need no re-cut, load them from the source");
        }
        if (states.config.optimizer_on_nvme) {
            return refuse(Refusal::nvme_offload, path_, "offload_optimizer.device is nvme in ds_config");
        }
        CKPTFS_ASSIGN(const std::vector<std::string> names,
                      optimizer_names(inventory_, states, family.rank, path_, *checkpoint_));
        CKPTFS_ASSIGN(const std::vector<OptimizerFile> files, read_ranks(source_, directory_, names, family));
        checkpoint_->format = files.front().format;
        checkpoint_->stage = files.front().stage;
        CKPTFS_ASSIGN(family.groups, join_ranks(states, files, family.optimizer));
        return {};
    }

    const Source& source_;
    std::string directory_;
    std::string path_;
    const Inventory& inventory_;
    std::shared_ptr<Checkpoint> checkpoint_;
};

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
    return TagReading(source, directory, inventory).read();
}

}  // namespace ckptfs::zero
