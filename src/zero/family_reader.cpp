// Opens a family's model states; compares stamps at the end.
#include "zero/family_reader.h"

#include <memory>
#include <utility>

#include "util/path.h"
#include "zero/rank_files.h"
#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

Error missing_model_states(const TagFiles& tag, std::uint64_t rank) {
    const std::string digits = std::to_string(rank);
    const std::string name = (tag.inventory.is_stage3() ? "zero_pp_rank_0_mp_rank_" : "mp_rank_") +
                             std::string(digits.size() < 2 ? "0" : "") + digits + "_model_states.pt";
    if (rank > 0) {
        return {ErrorCode::incomplete, tag.path() + ": " + name +
                                           " is missing, but mp_world_size counts it; wait for a running save to "
                                           "finish, or gather the files of all nodes here"};
    }
    return {ErrorCode::incomplete, tag.path() + ": " + name + " is missing beside " +
                                       std::to_string(tag.inventory.optimizer.size()) +
                                       " optimizer files; rank 0's node wrote it: wait for the save, or copy it "
                                       "here"};
}

}  // namespace

Result<void> refuse_by_listing(const Inventory& inventory, const std::string& path) {
    if (!inventory.expert.empty()) {
        return refuse(Refusal::mixture_of_experts, path, inventory.expert);
    }
    if (inventory.swapped) {
        return refuse(Refusal::nvme_offload, path, "offloaded_tensors");
    }
    if (!inventory.model_states.empty() && !inventory.model_states_shards.empty()) {
        return Error(ErrorCode::inconsistent,
                     path + ": it holds both " + inventory.model_states.begin()->second.name + " and " +
                         inventory.model_states_shards.begin()->second.begin()->second.name +
                         ", which only stage 3 writes; two saves lie in one directory: remove the files of one");
    }
    return {};
}

Result<ModelStates> open_family(const TagFiles& tag, std::uint64_t rank, Family& family) {
    const ModelStatesName* found = tag.inventory.first_model_states(rank);
    if (found == nullptr) {
        return missing_model_states(tag, rank);
    }
    family.rank = found->rank;
    family.model_states_name = found->name;
    if (tag.opened != nullptr) {
        if (const auto known = tag.opened->find(rank); known != tag.opened->end()) {
            family.model_states_info = known->second.info;
            family.model_states = known->second.states.archive;
            return known->second.states;
        }
    }
    const std::string file = join_path(tag.directory, family.model_states_name);
    CKPTFS_ASSIGN(family.model_states_info, tag.source.stat_target(file));
    CKPTFS_ASSIGN(family.model_states_info.mode, tag.source.granted_mode(file, family.model_states_info));
    CKPTFS_ASSIGN(std::shared_ptr<const File> opened, tag.source.open(file));
    CKPTFS_ASSIGN(ModelStates states, read_model_states(std::move(opened)));
    family.model_states = states.archive;
    if (tag.opened != nullptr) {
        tag.opened->emplace(rank, OpenedModelStates{states, family.model_states_info});
    }
    return states;
}

Result<void> check_unchanged(const TagFiles& tag, const Family& family) {
    std::vector<std::string> names;
    std::vector<FileStamp> stamps;
    if (family.model_states_of_ranks().empty()) {  // else it is one of these
        names.push_back(family.model_states_name);
        stamps.push_back(family.model_states_info.stamp);
    }
    for (const RankFile* rank : family.rank_files()) {
        names.push_back(rank->name);
        stamps.push_back(rank->info.stamp);
    }
    CKPTFS_ASSIGN(const std::vector<FileInfo> now, look_at_all(tag.source, tag.directory, names));
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (now[i].stamp != stamps[i]) {
            return Error(ErrorCode::stale,
                         tag.source.display(join_path(tag.directory, names[i])) +
                             " changed while it was being read; wait for the save to finish and try again");
        }
    }
    return {};
}

}  // namespace ckptfs::zero
