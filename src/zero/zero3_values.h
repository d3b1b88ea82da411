// Compares what the ranks of a stage-3 family must say alike.
#pragma once

#include <vector>

#include "ckptfs/result.h"
#include "zero/saved_values.h"
#include "zero/zero3_join.h"

namespace ckptfs::zero {

/// Equal pickles are compared once; of further ranks that share one only the numbers in tensors are read. `family`: as
/// it was joined. `inconsistent` where a value of the save differs.
Result<FamilyValues> compare_zero3_values(const std::vector<Zero3Rank>& ranks, const Family& family);

}  // namespace ckptfs::zero
