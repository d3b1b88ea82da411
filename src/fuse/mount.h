// Mounting a FileSystem and serving it until it is unmounted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "fs/file_system.h"

namespace ckptfs {

/// Whether the kernel's page cache stands between readers and the daemon.
enum class IoMode : std::uint8_t {
    /// Direct for files of views that one rank reads once, cached for all else; SOURCE's own files, where the mount is
    /// writable, by the kernel itself if it can.
    automatic,
    cached,
    direct,
};

struct MountOptions {
    std::string source;       ///< absolute; shown as the mounted device
    std::string mount_point;  ///< absolute
    IoMode io = IoMode::automatic;
    bool allow_other = false;
    /// What the file system can be asked to change, it changes. Under allow_other only where this process is root's.
    bool writable = false;
    /// The mount point is the source itself, which the file system holds by a descriptor and nobody looks for by its
    /// path.
    bool in_place = false;
    /// Of SIGTERM, SIGINT and SIGHUP only those that this process or its parent sends end the mount.
    bool ends_by_own_signals = false;
    /// Passed on to the kernel or fusermount3 as `-o`, one option each ("dirsync", "context=..."); checked by them.
    std::vector<std::string> kernel_options;
};

/// Whether `mount_point` can be mounted on: an existing, empty directory that is no stale mount, no mount of ckptfs,
/// and neither inside `source` nor a directory that contains it; and, with allow_other, whether fuse.conf allows that.
/// With in_place, whether both paths are the same directory. Both are absolute. The error (`mount`, or
/// `invalid_argument` where the options do not go together) says what to do.
Result<void> check_mount_point(const MountOptions& options);

/// Checks the mount point, mounts, calls `on_ready` (from another thread, once) when the mount answers, and serves
/// until the mount is unmounted or SIGTERM, SIGINT or SIGHUP comes, both of which are success. Leaves no mount behind.
/// Threads are started; whoever forks does so before. One mount at a time in a process (signal handlers are global).
Result<void> mount_and_serve(FileSystem& file_system, const MountOptions& options,
                             const std::function<void()>& on_ready);

}  // namespace ckptfs
