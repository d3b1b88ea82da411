// Joins what the ranks' files say of each parameter group into the hub's maps.
#pragma once

#include <vector>

#include "ckptfs/result.h"
#include "zero/checkpoint.h"
#include "zero/model_states.h"
#include "zero/optimizer_file.h"

namespace ckptfs::zero {

/// `files` by rank. Each group's rules are those that the data show, which the stored config may not say.
/// `inconsistent` where ranks disagree, `damaged` where a partition is too short, `unsupported` where a state is not
/// element-wise.
Result<std::vector<ParameterGroup>> join_ranks(const ModelStates& states, const std::vector<OptimizerFile>& files,
                                               const std::vector<RankFile>& ranks);

}  // namespace ckptfs::zero
