// Asks the kernel for what libfuse before 3.17 cannot ask for: shared read-only mappings of files opened with direct
// I/O.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ckptfs {

/// Stands between libfuse and /dev/fuse: sees the kernel's INIT request, and adds FUSE_DIRECT_IO_ALLOW_MMAP to the
/// reply where the kernel offered it (6.6 and later). All else goes through unchanged.
class InitHook {
 public:
    ssize_t read(int descriptor, void* buffer, std::size_t nbytes);
    ssize_t writev(int descriptor, const iovec* parts, int count);

    /// Known once INIT has been answered.
    [[nodiscard]] bool direct_mmap_allowed() const { return allowed_; }

 private:
    void see_request(const void* buffer, std::size_t nbytes);
    void edit_reply(const iovec* parts, int count);

    // The thread that reads INIT answers it, before any other request exists.
    std::atomic<bool> answered_ = false;
    std::atomic<bool> allowed_ = false;
    std::atomic<bool> offered_ = false;
    std::atomic<std::uint64_t> unique_ = 0;
};

}  // namespace ckptfs
