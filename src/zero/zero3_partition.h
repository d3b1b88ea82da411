// How ZeRO 3 cuts parameters over the data-parallel ranks, and groups of them into sub-groups. Pure arithmetic.
// Formulas: DeepSpeed 0.19.8, runtime/zero/partition_parameters.py _partition_param and runtime/zero/stage3.py
// DeepSpeedZeroOptimizer_Stage3._create_fp16_sub_groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ckptfs/result.h"
#include "util/checked.h"

namespace ckptfs::zero {

/// zero_optimization.sub_group_size where a config does not say.
inline constexpr std::uint64_t default_sub_group_size = 1'000'000'000;

/// What each rank owns of a parameter of `numel` elements; the last ranks' share ends in padding.
[[nodiscard]] constexpr std::uint64_t partition_numel(std::uint64_t numel, std::uint64_t world_size) {
    return ceil_divide(numel, world_size);
}

/// Consecutive parameters of one group that are flattened and stepped together.
struct SubGroup {
    std::size_t group = 0;         ///< the parameter group
    std::size_t first = 0;         ///< its first parameter, as an index into the group
    std::size_t count = 0;         ///< of parameters
    std::uint64_t flat_numel = 0;  ///< of each rank's flat tensor

    bool operator==(const SubGroup&) const = default;
};

/// `damaged` where `ranks` shares of all parameters together overflow a 64-bit number of bytes.
Result<void> check_numels(std::span<const std::uint64_t> numels, std::uint64_t world_size);

/// Appends the sub-groups of group `group`, whose parameters have `numels` elements in optimizer order and pass
/// check_numels().
void cut_sub_groups(std::size_t group, std::span<const std::uint64_t> numels, std::uint64_t world_size,
                    std::uint64_t sub_group_size, std::vector<SubGroup>& out);

}  // namespace ckptfs::zero
