// The arithmetic of flat buffers; see the header for its sources.
#include "zero/partition.h"

#include <algorithm>
#include <numeric>

#include "util/checked.h"

namespace ckptfs::zero {

std::uint64_t alignment_numel(std::uint64_t itemsize) {
    constexpr std::uint64_t alignment_nbytes = 16;
    return alignment_nbytes / std::gcd(alignment_nbytes, itemsize);
}

bool FlatLayout::aligned() const {
    return std::any_of(alignment_after.begin(), alignment_after.end(), [](std::uint64_t numel) { return numel != 0; });
}

std::uint64_t FlatLayout::used_numel(std::uint64_t rank) const {
    const std::uint64_t left = rank * partition_numel;
    return end_numel <= left ? 0 : std::min(partition_numel, end_numel - left);
}

std::size_t FlatLayout::first_slot_after(std::uint64_t flat_numel) const {
    const auto it = std::partition_point(slots.begin(), slots.end(), [flat_numel](const Slot& slot) {
        return slot.offset_numel + slot.numel <= flat_numel;
    });
    return static_cast<std::size_t>(it - slots.begin());
}

std::vector<std::uint32_t> round_robin_order(std::size_t count, std::uint64_t world_size) {
    std::vector<std::uint32_t> order;
    order.reserve(count);
    for (std::uint64_t first = 0; first < std::min<std::uint64_t>(world_size, count); ++first) {
        for (std::uint64_t i = first; i < count; i += world_size) {
            order.push_back(static_cast<std::uint32_t>(i));
        }
    }
    return order;
}

Result<FlatLayout> flat_layout(std::span<const std::uint64_t> numels, std::uint64_t world_size,
                               const FlatRules& rules) {
    const Error overflow(ErrorCode::damaged, "a parameter group has more elements than a 64-bit count can hold");
    FlatLayout layout;
    layout.world_size = world_size;
    std::vector<std::uint32_t> order;
    if (rules.round_robin) {
        order = round_robin_order(numels.size(), world_size);
    } else {
        order.resize(numels.size());
        std::iota(order.begin(), order.end(), 0U);
    }
    layout.slots.reserve(order.size());
    layout.alignment_after.reserve(order.size());
    std::uint64_t cursor = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        const std::uint64_t numel = numels[order[i]];
        layout.slots.push_back({order[i], cursor, numel});
        const auto end = checked_add(cursor, numel);
        if (!end) {
            return overflow;
        }
        const bool last = i + 1 == order.size();
        const auto next = checked_multiply(ceil_divide(*end, rules.alignment_numel), rules.alignment_numel);
        if (!next) {
            return overflow;
        }
        layout.alignment_after.push_back(last ? 0 : *next - *end);
        cursor = last ? *end : *next;
    }
    layout.end_numel = cursor;
    const std::uint64_t granule = nccl_start_alignment_factor * world_size;
    const auto padded = checked_multiply(ceil_divide(cursor, granule), granule);
    // Byte offsets must fit too: no element type is larger than 16 bytes.
    if (!padded || !checked_multiply(*padded, 16)) {
        return overflow;
    }
    layout.padded_numel = *padded;
    layout.partition_numel = layout.padded_numel / world_size;
    return layout;
}

std::uint64_t group_padding(const FlatLayout& layout, std::uint64_t rank) {
    return layout.partition_numel - layout.used_numel(rank);
}

std::uint64_t group_padding_bf16_optimizer(const FlatLayout& layout, std::uint64_t rank) {
    return rank + 1 == layout.world_size ? layout.padded_numel - layout.end_numel : 0;
}

std::vector<Fragment> slice_mapping(const FlatLayout& layout, std::uint64_t rank) {
    std::vector<Slot> by_parameter(layout.slots.size());
    for (const Slot& slot : layout.slots) {
        by_parameter[slot.parameter] = slot;
    }
    if (!layout.aligned()) {
        std::uint64_t cursor = 0;
        for (Slot& slot : by_parameter) {
            slot.offset_numel = cursor;
            cursor += slot.numel;
        }
    }
    const std::uint64_t left = rank * layout.partition_numel;
    const std::uint64_t right = left + layout.partition_numel;
    std::vector<Fragment> fragments;
    for (const Slot& slot : by_parameter) {
        const std::uint64_t end = slot.offset_numel + slot.numel;
        if (slot.numel == 0 || slot.offset_numel >= right || end <= left) {
            continue;
        }
        const std::uint64_t start = std::max(slot.offset_numel, left);
        fragments.push_back({slot.parameter, start - left, std::min(end, right) - start});
    }
    return fragments;
}

}  // namespace ckptfs::zero
