// Elements compared by value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/dtype.h"

namespace ckptfs::diff {

/// What comparing elements came to. Those of which one is an infinity or a NaN count as different where they are, and
/// for nothing else.
struct Deviation {
    std::uint64_t different = 0;
    std::uint64_t not_finite = 0;  ///< of the different ones
    double max_absolute = 0;       ///< |a - b|
    double max_relative = 0;       ///< |a - b| / max(|a|, |b|)
    bool is_measured = true;       ///< false for types whose elements are no real numbers here: complex, eight bits

    void add(const Deviation& other);
};

/// Elements [0, n) of either side. Of the same type, those with the same bits are equal, a NaN too, and so are the two
/// zeros; of two types, those with the same value, and any two NaNs. `a` and `b` hold the same number of elements.
[[nodiscard]] Deviation compare(model::DType dtype_a, std::span<const std::byte> a, model::DType dtype_b,
                                std::span<const std::byte> b);

}  // namespace ckptfs::diff
