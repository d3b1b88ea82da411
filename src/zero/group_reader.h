// Joins what the ranks' files say of each parameter group into content and forms.
#pragma once

#include <vector>

#include "ckptfs/result.h"
#include "zero/model_states.h"
#include "zero/optimizer_file.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Sets the groups of `family`, whose optimizer files `files` are, and those of `content` without weights. Each group's
/// rules are those that the data show, which the stored config may not say. `inconsistent` where ranks disagree,
/// `damaged` where a partition is too short, `unsupported` where a state is not element-wise.
Result<void> join_ranks(const ModelStates& states, const std::vector<OptimizerFile>& files, Family& family,
                        model::Rank& content);

}  // namespace ckptfs::zero
