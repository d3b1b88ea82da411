// The arithmetic of ZeRO 3; see the header for its sources.
#include "zero/zero3_partition.h"

namespace ckptfs::zero {

Result<void> check_numels(std::span<const std::uint64_t> numels, std::uint64_t world_size) {
    constexpr std::uint64_t largest_itemsize = 16;
    std::uint64_t total = 0;
    for (const std::uint64_t numel : numels) {
        const auto padded = checked_multiply(partition_numel(numel, world_size), world_size);
        const auto sum = padded ? checked_add(total, *padded) : padded;
        if (!sum) {
            total = UINT64_MAX;
            break;
        }
        total = *sum;
    }
    if (!checked_multiply(total, largest_itemsize)) {
        return Error(ErrorCode::damaged, "a parameter group has more elements than a 64-bit count can hold");
    }
    return {};
}

void cut_sub_groups(std::size_t group, std::span<const std::uint64_t> numels, std::uint64_t world_size,
                    std::uint64_t sub_group_size, std::vector<SubGroup>& out) {
    std::uint64_t total = 0;
    for (const std::uint64_t numel : numels) {
        total += partition_numel(numel, world_size);
    }
    if (sub_group_size >= total) {
        out.push_back({group, 0, numels.size(), total});
        return;
    }
    SubGroup current{group, 0, 0, 0};
    for (std::size_t i = 0; i < numels.size(); ++i) {
        current.flat_numel += partition_numel(numels[i], world_size);
        ++current.count;
        if (current.flat_numel >= sub_group_size || i + 1 == numels.size()) {
            out.push_back(current);
            current = {group, i + 1, 0, 0};
        }
    }
}

}  // namespace ckptfs::zero
