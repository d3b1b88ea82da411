// One way to the bytes of an inode for all who have it open at one time, since the kernel allows no other.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "io/caller.h"
#include "util/outcome.h"

namespace ckptfs {

/// Files that the kernel reads and writes by itself.
class BackingFiles {
 public:
    BackingFiles() = default;
    BackingFiles(const BackingFiles&) = delete;
    BackingFiles& operator=(const BackingFiles&) = delete;
    virtual ~BackingFiles() = default;

    /// The kernel's number of the open file, for whoever opens the inode until close(). `caller` is on whose behalf the
    /// kernel writes.
    virtual Outcome<std::int32_t> open(int descriptor, const Caller& caller) = 0;
    virtual void close(std::int32_t backing) noexcept = 0;
};

/// While a file is open in passthrough mode, the kernel refuses (EIO) every open of that inode that is not, or that
/// names another backing file; and it refuses a passthrough open while one that has the page cache in use is there. An
/// open with direct I/O refuses no passthrough, but can then no longer be mapped. So the first to open an inode
/// decides, and all others join. Safe for concurrent use.
class OpenModes {
 public:
    struct Opening {
        std::int32_t backing = 0;  ///< of an open in passthrough mode; 0: the daemon's own, direct or cached
    };

    explicit OpenModes(BackingFiles& backing_files) : backing_files_(backing_files) {}

    /// Counts one open file. `descriptor`: the source's own file, which the kernel may use, or -1. Where the kernel
    /// refuses that, it is not asked again. ESTALE where the inode is open as another file than this; ENOMEM.
    Outcome<Opening> enter(std::uint64_t inode, int descriptor, const Caller& caller) noexcept;
    /// Takes back one enter() that succeeded: the kernel has closed the file.
    void leave(std::uint64_t inode) noexcept;

    /// Files that were opened in passthrough mode so far.
    [[nodiscard]] std::size_t passed_through() const { return passed_through_; }

 private:
    struct OpenInode {
        std::size_t users = 0;
        std::int32_t backing = 0;
        dev_t device = 0;
        ino_t number = 0;
    };

    /// `found`: what the descriptor leads to; nullptr: there is none.
    [[nodiscard]] Outcome<Opening> join(OpenInode& open, const struct stat* found);
    [[nodiscard]] OpenInode begin(int descriptor, const struct stat& found, const Caller& caller);

    BackingFiles& backing_files_;
    std::atomic<std::size_t> passed_through_ = 0;
    std::mutex mutex_;
    bool refused_ = false;
    std::unordered_map<std::uint64_t, OpenInode> inodes_;
};

}  // namespace ckptfs
