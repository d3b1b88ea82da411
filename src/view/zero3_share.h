// What a rank of a target world size owns of a parameter under stage 3.
#pragma once

#include <cstdint>

#include "ckptfs/extent.h"
#include "model/elements.h"

namespace ckptfs::view {

/// What rank `rank` of `dp_world_size` owns of one parameter's elements, in the form that stage 3 stores it: padding is
/// zero.
void append_share(const model::Elements& elements, std::uint64_t dp_world_size, std::uint64_t rank, PieceList& out);

}  // namespace ckptfs::view
