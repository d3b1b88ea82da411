// Hyper-parameters out of an optimizer file's pickle.
#pragma once

#include <vector>

#include "model/checkpoint.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Of each group, as the first data-parallel rank's param_groups has them: numbers, words and flags, and lists of them
/// as "betas[0]"; what is none of these is left out, the list of parameters too. Empty where the file has no
/// param_groups (the elastic form), or none was read.
[[nodiscard]] std::vector<model::Scalars> group_hyper_parameters(const Family& family);

}  // namespace ckptfs::zero
