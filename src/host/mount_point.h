// What the kernel says of mount points.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "host/mount_options.h"

namespace ckptfs {

/// `path` without symbolic links, "." and "..".
Result<std::string> real_path(const std::string& path);

/// Whether `reason`, an errno, is what a mount of FUSE answers whose daemon is gone.
[[nodiscard]] bool daemon_is_gone(int reason);

/// The type of ours in tables of mounts.
inline constexpr const char* mount_type = "fuse.ckptfs";

/// A mount, as /proc/self/mountinfo has it.
struct MountEntry {
    std::string device;  ///< "MAJOR:MINOR"
    std::string type;    ///< mount_type for ours
    std::string source;
    std::string point;
    bool is_read_only = false;          ///< as it was mounted
    std::optional<std::uint32_t> user;  ///< who mounted it, of file systems that say so
};

/// Those of this process's mount namespace that `is_wanted`, the uppermost last.
std::vector<MountEntry> mounts_of_process(const std::function<bool(const MountEntry&)>& is_wanted);

/// The uppermost of the mounts on exactly `real_mount_point`: the one that unmounting would take.
std::optional<MountEntry> mounted_on(const std::string& real_mount_point);

/// Whether `path`, which is absolute, can be a source: `invalid_argument` where it lies in a mount of ckptfs that
/// covers the very directory that it shows, and `mount` where the daemon of that is gone.
Result<void> check_not_in_place(const std::string& path);

/// Whether `mount_point` can be mounted on: an existing, empty directory that is no stale mount, no mount of ckptfs,
/// and neither inside `source` nor a directory that contains it; and, with allow_other, whether fuse.conf allows that.
/// With in_place, whether both paths are the same directory. Both are absolute. With a descriptor, whether that can be
/// served (host/handed_over.h). The error (`mount`, or `invalid_argument` where the options do not go together) says
/// what to do.
Result<void> check_mount_point(const MountOptions& options);

/// What to do where mounting was refused; empty where nothing that can be seen from here explains it.
std::string mount_advice();

}  // namespace ckptfs
