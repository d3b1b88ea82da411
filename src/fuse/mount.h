// Mounting a FileSystem and serving it until it is unmounted.
#pragma once

#include <functional>

#include "ckptfs/result.h"
#include "fs/file_system.h"
#include "host/mount_options.h"

namespace ckptfs {

/// Checks the mount point, mounts, calls `on_ready` (from another thread, once) when the mount answers, and serves
/// until the mount is unmounted or SIGTERM, SIGINT or SIGHUP comes, both of which are success. Leaves no mount behind,
/// but for one that somebody else has made, and whose descriptor it closes.
/// Threads are started; whoever forks does so before. One mount at a time in a process (signal handlers are global).
Result<void> mount_and_serve(FileSystem& file_system, const MountOptions& options,
                             const std::function<void()>& on_ready);

}  // namespace ckptfs
