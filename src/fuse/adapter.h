// libfuse's low-level operations, each one call of the file system and one reply.
#pragma once

// Ahead of libfuse's header, which demands it.
#define FUSE_USE_VERSION 314

#include <fuse_lowlevel.h>

#include <atomic>

#include "fs/file_system.h"
#include "fuse/init_hook.h"
#include "fuse/mount.h"

namespace ckptfs {

/// The user data of the session.
struct Adapter {
    FileSystem& file_system;
    IoMode io = IoMode::automatic;
    InitHook init_hook;
    std::atomic<bool> direct_mmap = false;  ///< libfuse itself could ask for it

    /// Whether a file is to be opened past the page cache. In automatic mode only where shared mappings still work.
    [[nodiscard]] bool opens_direct(bool read_once) const {
        const bool mappable = direct_mmap || init_hook.direct_mmap_allowed();
        return io == IoMode::direct || (io == IoMode::automatic && read_once && mappable);
    }
};

const fuse_lowlevel_ops& adapter_operations();

}  // namespace ckptfs
