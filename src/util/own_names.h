// The names by which a mount is asked for what it says of itself.
#pragma once

#include <cstddef>
#include <string_view>

namespace ckptfs {

/// The directory of a mount's own files, in its root: found by its name, and never listed. An entry of SOURCE that has
/// the name and is shown in the root comes first.
inline constexpr std::string_view own_directory_name = ".ckptfs";

/// The start of the names of the extended attributes that a mount answers by itself. Those of its root are what its own
/// files hold.
inline constexpr std::string_view own_attributes = "user.ckptfs.";

/// The most that the kernel passes on of one (XATTR_SIZE_MAX).
inline constexpr std::size_t max_attribute_nbytes = 65536;

}  // namespace ckptfs
