// What the kernel says of mount points.
#pragma once

#include <optional>
#include <string>

#include "ckptfs/result.h"

namespace ckptfs {

/// `path` without symbolic links, "." and "..".
Result<std::string> real_path(const std::string& path);

/// What is mounted by ckptfs on exactly `real_mount_point`: its source as /proc/self/mountinfo has it.
std::optional<std::string> mounted_source(const std::string& real_mount_point);
inline bool is_mounted(const std::string& real_mount_point) {
    return mounted_source(real_mount_point).has_value();
}

}  // namespace ckptfs
