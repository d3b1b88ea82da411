// The INIT exchange as linux/fuse.h defines it. The headers of Debian 12 do not know all of it.
#include "fuse/init_hook.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <cstring>
#include <type_traits>

namespace ckptfs {
namespace {

// Bits of flags, and of flags2, which has bit 32 as its bit 0.
constexpr std::uint32_t init_ext = 1U << 30U;                     // FUSE_INIT_EXT: flags2 counts
constexpr std::uint32_t handle_killpriv = 1U << 19U | 1U << 28U;  // FUSE_HANDLE_KILLPRIV, FUSE_HANDLE_KILLPRIV_V2
constexpr std::uint32_t direct_io_allow_mmap = 1U << 4U;          // FUSE_DIRECT_IO_ALLOW_MMAP (bit 36)
constexpr std::uint32_t passthrough = 1U << 5U;                   // FUSE_PASSTHROUGH (bit 37)

// What fuse_init_out has in unused[0] since 7.40: with 1 the backing files may not lie on a stacked file system such as
// overlayfs, and one of those may lie on this mount.
constexpr std::uint32_t max_stack_depth = 1;

template <class T>
bool copy_from(T& out, const void* buffer, std::size_t nbytes, std::size_t offset = 0) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (nbytes < offset + sizeof(T)) {
        return false;
    }
    std::memcpy(&out, static_cast<const std::byte*>(buffer) + offset, sizeof(T));
    return true;
}

}  // namespace

// Not noexcept, and nothing here needs unwinding: libfuse ends its threads by cancelling them in this read.
ssize_t InitHook::read(int descriptor, void* buffer, std::size_t nbytes) {
    const ssize_t got = ::read(descriptor, buffer, nbytes);
    if (got > 0 && !answered_) {
        see_request(buffer, static_cast<std::size_t>(got));
    }
    return got;
}

ssize_t InitHook::writev(int descriptor, const iovec* parts, int count) {
    if (!answered_) {
        edit_reply(parts, count);
    }
    return ::writev(descriptor, parts, count);
}

void InitHook::see_request(const void* buffer, std::size_t nbytes) {
    fuse_in_header header{};
    fuse_init_in init{};
    if (!copy_from(header, buffer, nbytes) || header.opcode != FUSE_INIT ||
        !copy_from(init, buffer, nbytes, sizeof(header))) {
        return;
    }
    unique_ = header.unique;
    offered_ = init.flags;
    offered2_ = (init.flags & init_ext) != 0 ? init.flags2 : 0;
}

void InitHook::edit_reply(const iovec* parts, int count) {
    fuse_out_header header{};
    if (count < 2 || !copy_from(header, parts[0].iov_base, parts[0].iov_len) || header.unique != unique_ ||
        header.error != 0) {
        return;
    }
    fuse_init_out init{};
    // Kernels send INIT again with a lower version if they like ours not; then the reply is shorter.
    if (copy_from(init, parts[1].iov_base, parts[1].iov_len)) {
        if (wishes_.kills_privileges) {
            init.flags |= offered_ & handle_killpriv;
        }
        const std::uint32_t asked2 = offered2_ & (direct_io_allow_mmap | (wishes_.passthrough ? passthrough : 0));
        if (asked2 != 0) {
            init.flags |= init_ext;
            init.flags2 |= asked2;
        }
        if ((asked2 & passthrough) != 0) {
            init.unused[0] = max_stack_depth;
        }
        direct_mmap_allowed_ = (asked2 & direct_io_allow_mmap) != 0;
        passthrough_allowed_ = (asked2 & passthrough) != 0;
        std::memcpy(parts[1].iov_base, &init, sizeof(init));
    }
    answered_ = true;
}

}  // namespace ckptfs
