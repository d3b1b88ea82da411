// The two kinds of files of a stage-3 rank, taken apart. Ranks whose pickles are equal share one of each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "pt/archive.h"
#include "zero/model_states.h"
#include "zero/optimizer_file.h"

namespace ckptfs::zero {

/// A parameter that no optimizer owns: it does not require gradients, or has no elements.
struct FrozenEntry {
    Parameter parameter;
    StateEntry fragment;  ///< the rank's share
};

struct Zero3ModelStates {
    ModelStates states;  ///< its groups are the sub-groups
    std::vector<FrozenEntry> frozen;
};

Result<Zero3ModelStates> read_zero3_model_states(std::shared_ptr<const pt::Archive> archive);

/// The attributes that stage 3 gives a master, `ds_id` among them; nullptr where it has none.
[[nodiscard]] const pickle::Node* attributes_with_ds_id(const pickle::Node* tensor);

struct SubGroupEntry {
    StateEntry master;
    bool has_state = false;
    StateEntries states;
    std::string ds_id;  ///< of the master: "<id of its first parameter>_<id of its last>"; empty in old files
};

struct Zero3OptimizerFile {
    std::shared_ptr<const pt::Archive> archive;
    std::uint64_t partition_count = 0;  ///< ranks that each parameter is cut over
    std::vector<SubGroupEntry> sub_groups;
    std::vector<std::size_t> group_sub_groups;       ///< by parameter group: how many sub-groups it has
    std::vector<std::optional<double>> group_steps;  ///< by parameter group: of FusedAdam, which counts there
    std::string deepspeed_version;
    SavedValues values;  ///< but for steps
};

/// Drop the tree and every pointer into it; what was read from it stays.
void forget_tree(Zero3ModelStates& file);
void forget_tree(Zero3OptimizerFile& file);

/// Refuses what cannot be re-cut.
Result<Zero3OptimizerFile> read_zero3_optimizer_file(std::shared_ptr<const pt::Archive> archive);

}  // namespace ckptfs::zero
