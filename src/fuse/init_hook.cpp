// The INIT exchange as linux/fuse.h defines it. The headers of Debian 12 know neither of the two constants below.
#include "fuse/init_hook.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <cstring>
#include <type_traits>

namespace ckptfs {
namespace {

constexpr std::uint32_t init_ext = 1U << 30U;             // FUSE_INIT_EXT: flags2 counts
constexpr std::uint32_t direct_io_allow_mmap = 1U << 4U;  // FUSE_DIRECT_IO_ALLOW_MMAP (bit 36), as a bit of flags2

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
    offered_ = (init.flags & init_ext) != 0 && (init.flags2 & direct_io_allow_mmap) != 0;
}

void InitHook::edit_reply(const iovec* parts, int count) {
    fuse_out_header header{};
    if (count < 2 || !copy_from(header, parts[0].iov_base, parts[0].iov_len) || header.unique != unique_ ||
        header.error != 0) {
        return;
    }
    fuse_init_out init{};
    // Kernels send INIT again with a lower version if they like ours not; then the reply is shorter.
    if (offered_ && copy_from(init, parts[1].iov_base, parts[1].iov_len)) {
        init.flags |= init_ext;
        init.flags2 |= direct_io_allow_mmap;
        std::memcpy(parts[1].iov_base, &init, sizeof(init));
        allowed_ = true;
    }
    answered_ = true;
}

}  // namespace ckptfs
