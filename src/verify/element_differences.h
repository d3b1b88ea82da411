// Which element of two rows of them is the first that differs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "model/dtype.h"

namespace ckptfs::verify {

/// The index of the first element that is not the same, where any NaN is the same as any other. Both have as many
/// bytes.
[[nodiscard]] std::optional<std::uint64_t> first_difference(model::DType dtype, std::span<const std::byte> expected,
                                                            std::span<const std::byte> found);
/// The same, of bytes.
[[nodiscard]] std::optional<std::uint64_t> first_unequal(std::uint64_t itemsize, std::span<const std::byte> expected,
                                                         std::span<const std::byte> found);

}  // namespace ckptfs::verify
