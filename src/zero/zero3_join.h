// Joins what the files of stage-3 ranks say into content and forms.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "zero/written.h"
#include "zero/zero3_files.h"

namespace ckptfs::zero {

/// One rank's two files. Ranks whose pickles are equal share what was parsed.
struct Zero3Rank {
    std::string model_states_path;
    std::shared_ptr<const Zero3ModelStates> model_states;
    pt::RecordPlaces model_states_places;  ///< of the storages of model_states, in this rank's file
    std::string optimizer_path;
    std::shared_ptr<const Zero3OptimizerFile> optimizer;
    pt::RecordPlaces optimizer_places;
};

/// Sets groups, sub_groups and frozen of `family`, and the groups of `content` without weights. `ranks` by
/// data-parallel rank, all of them. Positions come from the files' own param_shapes, so that no config need explain
/// them. `inconsistent` where ranks disagree, `damaged` where a file contradicts itself, `unsupported` where shards do
/// not cover all ranks (MiCS) or a state is not element-wise.
Result<void> join_zero3_ranks(const std::vector<Zero3Rank>& ranks, Family& family, model::Rank& content);

}  // namespace ckptfs::zero
