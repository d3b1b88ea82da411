// Shapes of tensors, for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckptfs {

/// "[4096, 1024]"; "[]" of a scalar.
[[nodiscard]] std::string shape_text(const std::vector<std::uint64_t>& shape);

}  // namespace ckptfs
