// Asks the kernel for what libfuse before 3.17 cannot ask for.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ckptfs {

/// Stands between libfuse and /dev/fuse: sees the kernel's INIT request, and adds to the reply what is wished for,
/// where the kernel offered it. All else goes through unchanged. Shared mappings of files that are opened with direct
/// I/O are always wished for (FUSE_DIRECT_IO_ALLOW_MMAP, 6.6 and later).
class InitHook {
 public:
    struct Wishes {
        /// Files that the kernel reads and writes by itself (FUSE_PASSTHROUGH, 6.9 and later), none of them on a
        /// stacked file system.
        bool passthrough = false;
        /// What is written loses its set-user-id bits and capabilities where it lies (FUSE_HANDLE_KILLPRIV, and _V2
        /// since 5.11). Else the kernel looks for them before each write, and asks for a change of mode that whoever
        /// writes a file of another's may not make.
        bool kills_privileges = false;
    };

    explicit InitHook(Wishes wishes) : wishes_(wishes) {}

    ssize_t read(int descriptor, void* buffer, std::size_t nbytes);
    ssize_t writev(int descriptor, const iovec* parts, int count);

    [[nodiscard]] const Wishes& wishes() const { return wishes_; }

    // Known once INIT has been answered.
    [[nodiscard]] bool direct_mmap_allowed() const { return direct_mmap_allowed_; }
    [[nodiscard]] bool passthrough_allowed() const { return passthrough_allowed_; }

 private:
    void see_request(const void* buffer, std::size_t nbytes);
    void edit_reply(const iovec* parts, int count);

    const Wishes wishes_;

    // The thread that reads INIT answers it, before any other request exists.
    std::atomic<bool> answered_ = false;
    std::atomic<bool> direct_mmap_allowed_ = false;
    std::atomic<bool> passthrough_allowed_ = false;
    std::atomic<std::uint32_t> offered_ = 0;   // flags
    std::atomic<std::uint32_t> offered2_ = 0;  // flags2
    std::atomic<std::uint64_t> unique_ = 0;
};

}  // namespace ckptfs
