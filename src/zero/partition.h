// How ZeRO 1 and 2 cut a parameter group's flat buffer over the data-parallel ranks. Pure arithmetic.
// Formulas: DeepSpeed 0.19.8, runtime/zero/stage_1_and_2.py DeepSpeedZeroOptimizer.__init__ and _round_robin_reorder;
// runtime/bf16_optimizer.py BF16_Optimizer._setup_for_real_optimizer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::zero {

/// NCCL wants flat buffers aligned to this many elements per rank (nccl_start_alignment_factor).
inline constexpr std::uint64_t nccl_start_alignment_factor = 2;

struct FlatRules {
    bool round_robin = false;           ///< zero_optimization.round_robin_gradients
    std::uint64_t alignment_numel = 1;  ///< each parameter starts at a multiple of this; see alignment_numel()

    bool operator==(const FlatRules&) const = default;
};

/// Elements to which zero_optimization.parameter_alignment aligns a parameter: 16 bytes' worth.
[[nodiscard]] std::uint64_t alignment_numel(std::uint64_t itemsize);

struct Slot {
    std::uint32_t parameter = 0;  ///< index in optimizer order
    std::uint64_t offset_numel = 0;
    std::uint64_t numel = 0;
};

/// One parameter group's flat buffer at one world size.
struct FlatLayout {
    std::uint64_t world_size = 1;
    std::vector<Slot> slots;                     ///< in flat order
    std::vector<std::uint64_t> alignment_after;  ///< alignment padding after each slot, in elements
    std::uint64_t end_numel = 0;                 ///< just after the last parameter
    std::uint64_t padded_numel = 0;              ///< the whole buffer
    std::uint64_t partition_numel = 0;           ///< what each rank owns

    [[nodiscard]] bool aligned() const;
    /// Elements of rank `rank`'s partition that lie before end_numel.
    [[nodiscard]] std::uint64_t used_numel(std::uint64_t rank) const;
    /// The first slot that reaches past flat position `flat_numel`, as an index into slots.
    [[nodiscard]] std::size_t first_slot_after(std::uint64_t flat_numel) const;
};

/// `numels`: the parameters' element counts in optimizer order. `damaged` if their sum overflows.
Result<FlatLayout> flat_layout(std::span<const std::uint64_t> numels, std::uint64_t world_size, const FlatRules& rules);

/// The order in which round_robin_gradients lays out `count` parameters: result[i] is the optimizer index at flat place
/// i.
[[nodiscard]] std::vector<std::uint32_t> round_robin_order(std::size_t count, std::uint64_t world_size);

/// Padding at the end of a rank's partition as the ZeRO-1/2 optimizer counts it: possibly on several ranks.
[[nodiscard]] std::uint64_t group_padding(const FlatLayout& layout, std::uint64_t rank);
/// The same as BF16_Optimizer counts it: all of it on the last rank.
[[nodiscard]] std::uint64_t group_padding_bf16_optimizer(const FlatLayout& layout, std::uint64_t rank);

/// A parameter's part in one rank's partition, as param_slice_mappings names it.
struct Fragment {
    std::uint32_t parameter = 0;
    std::uint64_t start_numel = 0;  ///< in the partition
    std::uint64_t numel = 0;
};

/// In optimizer order, with the offsets of optimizer order unless alignment padding is in use: DeepSpeed ignores the
/// round-robin permutation here (utils/tensor_fragment.py, stage_1_and_2.py _link_all_hp_params).
[[nodiscard]] std::vector<Fragment> slice_mapping(const FlatLayout& layout, std::uint64_t rank);

}  // namespace ckptfs::zero
