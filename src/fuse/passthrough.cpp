// Two ioctls on /dev/fuse, and replies that carry their number, as linux/fuse.h defines them. The headers of Debian 12
// know none of it.
#include "fuse/passthrough.h"

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "io/caller_scope.h"

namespace ckptfs {
namespace {

constexpr std::uint32_t open_passthrough = 1U << 7U;  // FOPEN_PASSTHROUGH
constexpr double ns_in_a_second = 1e9;

struct BackingMap {  // struct fuse_backing_map
    std::int32_t descriptor = -1;
    std::uint32_t flags = 0;
    std::uint64_t padding = 0;
};
constexpr unsigned long backing_open = _IOW(229, 1, BackingMap);      // FUSE_DEV_IOC_BACKING_OPEN
constexpr unsigned long backing_close = _IOW(229, 2, std::uint32_t);  // FUSE_DEV_IOC_BACKING_CLOSE

struct OpenReply {  // struct fuse_open_out
    std::uint64_t handle = 0;
    std::uint32_t flags = open_passthrough;
    std::int32_t backing = 0;
};
static_assert(sizeof(OpenReply) == sizeof(fuse_open_out));

struct CreateReply {
    fuse_entry_out entry{};
    OpenReply opened;
};
static_assert(sizeof(CreateReply) == sizeof(fuse_entry_out) + sizeof(fuse_open_out));

fuse_attr to_fuse_attr(const struct stat& attributes) {
    fuse_attr out{};
    out.ino = attributes.st_ino;
    out.size = static_cast<std::uint64_t>(attributes.st_size);
    out.blocks = static_cast<std::uint64_t>(attributes.st_blocks);
    out.atime = static_cast<std::uint64_t>(attributes.st_atim.tv_sec);
    out.mtime = static_cast<std::uint64_t>(attributes.st_mtim.tv_sec);
    out.ctime = static_cast<std::uint64_t>(attributes.st_ctim.tv_sec);
    out.atimensec = static_cast<std::uint32_t>(attributes.st_atim.tv_nsec);
    out.mtimensec = static_cast<std::uint32_t>(attributes.st_mtim.tv_nsec);
    out.ctimensec = static_cast<std::uint32_t>(attributes.st_ctim.tv_nsec);
    out.mode = attributes.st_mode;
    out.nlink = static_cast<std::uint32_t>(attributes.st_nlink);
    out.uid = attributes.st_uid;
    out.gid = attributes.st_gid;
    out.rdev = static_cast<std::uint32_t>(attributes.st_rdev);
    out.blksize = static_cast<std::uint32_t>(attributes.st_blksize);
    return out;
}

void set_lifetime(double lifetime, std::uint64_t& seconds, std::uint32_t& nanoseconds) {
    const double whole = std::floor(lifetime);
    seconds = static_cast<std::uint64_t>(whole);
    nanoseconds = static_cast<std::uint32_t>((lifetime - whole) * ns_in_a_second);
}

template <class Reply>
int send(fuse_req_t request, const Reply& out) {
    return fuse_reply_buf(request, static_cast<const char*>(static_cast<const void*>(&out)), sizeof(out));
}

}  // namespace

Outcome<std::int32_t> KernelBackingFiles::open(int descriptor, const Caller& caller) {
    const io::CallerScope scope(caller, io::CallerScope::Umask::unused, io::CallerScope::Kept::sys_admin);
    if (scope.error() != 0) {
        return Errno{scope.error()};
    }
    const BackingMap map{.descriptor = descriptor};
    const int backing = ::ioctl(device_, backing_open, &map);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    if (backing < 0) {
        return Errno{errno};
    }
    return static_cast<std::int32_t>(backing);
}

void KernelBackingFiles::close(std::int32_t backing) noexcept {
    const auto number = static_cast<std::uint32_t>(backing);
    // Fails only where the kernel has let go of all of them: the mount is gone.
    static_cast<void>(::ioctl(device_, backing_close, &number));  // NOLINT(cppcoreguidelines-pro-type-vararg)
}

int reply_passthrough_open(fuse_req_t request, std::uint64_t handle, std::int32_t backing) {
    return send(request, OpenReply{.handle = handle, .backing = backing});
}

int reply_passthrough_create(fuse_req_t request, const fuse_entry_param& entry, std::uint64_t handle,
                             std::int32_t backing) {
    CreateReply out{.opened = {.handle = handle, .backing = backing}};
    out.entry.nodeid = entry.ino;
    out.entry.generation = entry.generation;
    set_lifetime(entry.entry_timeout, out.entry.entry_valid, out.entry.entry_valid_nsec);
    set_lifetime(entry.attr_timeout, out.entry.attr_valid, out.entry.attr_valid_nsec);
    out.entry.attr = to_fuse_attr(entry.attr);
    return send(request, out);
}

}  // namespace ckptfs
