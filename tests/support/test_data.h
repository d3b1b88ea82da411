// Where tests/data lies. In a source of its own, so that no other object depends on the path of the checkout.
#pragma once

#include <filesystem>

namespace ckptfs {

/// The absolute path of tests/data.
[[nodiscard]] std::filesystem::path test_data();

}  // namespace ckptfs
