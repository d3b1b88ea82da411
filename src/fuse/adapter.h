// libfuse's low-level operations, each one call of the file system and one reply.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "fs/file_system.h"
#include "fuse/init_hook.h"
#include "fuse/libfuse.h"
#include "fuse/mount.h"
#include "fuse/open_modes.h"
#include "fuse/passthrough.h"
#include "fuse/reply_pipe.h"
#include "host/request_counters.h"

namespace ckptfs {

/// The user data of the session.
class Adapter {
 public:
    Adapter(FileSystem& to_serve, const MountOptions& options);
    Adapter(const Adapter&) = delete;
    Adapter& operator=(const Adapter&) = delete;

    FileSystem& file_system;
    const bool writable;
    InitHook init_hook;
    KernelBackingFiles backing_files;
    const std::shared_ptr<RequestCounters> counters;
    OpenModes modes;
    ReplyPipes reply_pipes;
    fuse_session* session = nullptr;  ///< set before it serves
    std::function<void()> on_init;    ///< called, if set before the session serves, when the kernel has connected

    /// What is asked of the kernel, by libfuse itself where that can.
    void negotiate(fuse_conn_info& connection);

    /// Whether a file that is opened with `flags` is to be read and written past the page cache. In automatic mode only
    /// where shared mappings still work.
    [[nodiscard]] bool opens_direct(const OpenedFile& opened, int flags) const;
    /// Whether bytes of files are handed over to the kernel rather than read.
    [[nodiscard]] bool hands_over() const;
    /// Has the kernel forget the pages of an inode that nobody is using just now: sendfile(2) and mappings go through
    /// the page cache also where a file was opened past it.
    void forget_pages(fuse_ino_t inode) const;
    /// Bytes that the kernel asks for at a time, at most.
    [[nodiscard]] unsigned most_request_nbytes() const;
    /// Whether the kernel may read and write SOURCE's files by itself.
    [[nodiscard]] bool passes_through() const;

 private:
    [[nodiscard]] bool maps_direct() const;

    const IoMode io_;
    const bool is_on_descriptor_;
    std::atomic<bool> libfuse_maps_direct_ = false;
    std::atomic<bool> libfuse_passes_through_ = false;
};

const fuse_lowlevel_ops& adapter_operations(bool writable);

}  // namespace ckptfs
