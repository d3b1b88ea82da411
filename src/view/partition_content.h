// The bytes of a re-cut partition, as pieces of the source's partitions.
#pragma once

#include <cstdint>

#include "ckptfs/extent.h"
#include "zero/partition.h"
#include "zero/written.h"

namespace ckptfs::view {

/// Elements [first_numel, first_numel + count_numel) of the flat buffer of `state` under `layout`; padding is zero.
[[nodiscard]] PieceList flat_content(const zero::State& state, const zero::FlatLayout& layout,
                                     std::uint64_t first_numel, std::uint64_t count_numel);

/// The whole flat buffer of `weights`, which lies as `source` says, under `layout`; padding is zero.
[[nodiscard]] PieceList flat_content(const zero::WeightsBuffer& weights, const zero::FlatLayout& source,
                                     const zero::FlatLayout& layout);

/// The whole of every parameter that touches the partition of `rank`, in flat order, without padding.
[[nodiscard]] PieceList whole_content(const zero::State& state, const zero::FlatLayout& layout, std::uint64_t rank);

}  // namespace ckptfs::view
