// What libfuse before 3.17 has no calls for: files that the kernel reads and writes by itself (Linux 6.9 and later).
#pragma once

#include <cstdint>

#include "fuse/libfuse.h"
#include "fuse/open_modes.h"

namespace ckptfs {

/// The backing files of one session.
class KernelBackingFiles final : public BackingFiles {
 public:
    /// Before the session serves. `device`: its descriptor of /dev/fuse, open as long as this lives.
    void attach(int device) { device_ = device; }

    Outcome<std::int32_t> open(int descriptor, const Caller& caller) override;
    void close(std::int32_t backing) noexcept override;

 private:
    int device_ = -1;
};

/// As fuse_reply_open() and fuse_reply_create(), of a file that is open in passthrough mode.
int reply_passthrough_open(fuse_req_t request, std::uint64_t handle, std::int32_t backing);
int reply_passthrough_create(fuse_req_t request, const fuse_entry_param& entry, std::uint64_t handle,
                             std::int32_t backing);

}  // namespace ckptfs
