// Numbers that files keep in tensors of one element.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "model/dtype.h"

namespace ckptfs::zero {

/// Of the one element in `bytes`, which are as long as the dtype's; nullopt for a dtype that does not count anything
/// (complex, float8).
[[nodiscard]] std::optional<double> decode_number(model::DType dtype, std::span<const std::byte> bytes);

/// The shortest text that reads back as `value`; a whole number without a point.
[[nodiscard]] std::string number_text(double value);

}  // namespace ckptfs::zero
