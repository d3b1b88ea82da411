// What a comparison of a tensor's elements comes to, in words.
#pragma once

#include <cstdint>
#include <string>

#include "ckptfs/result.h"
#include "verify/block_comparer.h"
#include "verify/problems.h"

namespace ckptfs::verify {

/// Adds what is wrong with the view to `problems`. `what`: the tensor, of `numel` elements. An error that says nothing
/// of the view is returned.
Result<void> report_comparison(const std::string& what, const Comparison& comparison, std::uint64_t numel,
                               Problems& problems);

}  // namespace ckptfs::verify
