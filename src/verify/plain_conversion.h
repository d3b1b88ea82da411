// Elements of one type as another, by plain arithmetic: a second opinion on model's code, which works on
// bit patterns. Slower, and easy to see to be right.
#pragma once

#include <cstddef>
#include <span>

#include "model/dtype.h"

namespace ckptfs::verify {

/// Whether both are among float64, float32, float16 and bfloat16, or `from` is a whole number or a truth value.
[[nodiscard]] bool is_plainly_convertible(model::DType from, model::DType to);

/// All elements of `in` to `out`, which has room for just as many: to the nearest, ties to even, by way of float32 as
/// torch does it. is_plainly_convertible() holds.
void convert_plainly(model::DType from, std::span<const std::byte> in, model::DType to, std::span<std::byte> out);

/// Whether the element at `bytes` is a NaN; false for types without one.
[[nodiscard]] bool is_nan(model::DType dtype, std::span<const std::byte> bytes);

}  // namespace ckptfs::verify
