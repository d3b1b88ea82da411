// The system calls themselves, with their errors as values.
#include "io/system_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "io/unique_fd.h"
#include "util/path.h"

namespace ckptfs::io {
namespace {

constexpr int first_free_descriptor = 3;
constexpr std::uint64_t assumed_descriptor_limit = 256;
constexpr std::chrono::milliseconds pause_between_calls{10};

template <class T>
T or_errno(T answer) {
    return answer < 0 ? static_cast<T>(-errno) : answer;
}

bool is_link(int directory, const char* path) {
    struct stat status {};
    return ::fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
}

/// Whether /proc says of a mount of this number that its file system's type is `type`, or begins so.
bool is_mount_of(dev_t device, std::string_view type) {
    const std::string number = " " + std::to_string(major(device)) + ":" + std::to_string(minor(device)) + " ";
    std::ifstream mounts("/proc/self/mountinfo");
    std::string line;
    while (std::getline(mounts, line)) {  // blanks within a field are escaped
        if (line.find(number) != std::string::npos && line.find(" - " + std::string(type)) != std::string::npos) {
            return true;
        }
    }
    return false;
}

/// Takes what a system call answered, errno included. Moves a descriptor out of the way of those that programs write
/// to.
int above_standard_streams(int fd) {
    if (fd < 0) {
        return -errno;
    }
    if (fd >= first_free_descriptor) {
        return fd;
    }
    const UniqueFd low(fd);
    return or_errno(
        ::fcntl(low.get(), F_DUPFD_CLOEXEC, first_free_descriptor));  // NOLINT(cppcoreguidelines-pro-type-vararg)
}

}  // namespace

int SystemCalls::open_at(int directory, const char* path, int flags) const {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
    return above_standard_streams(::openat(directory, path, flags | O_CLOEXEC));
}

int SystemCalls::open_real_at(int directory, const char* path, int flags) const {
    const int fd = openat2(directory, path, flags);
    if (fd != -ENOSYS && fd != -EPERM) {  // EPERM: of a container whose filter does not know the call
        return fd;
    }
    const int noticed = SystemCalls::open_at(directory, path, flags | O_NOFOLLOW);
    return noticed == -ENOTDIR && is_link(directory, path) ? -ELOOP : noticed;
}

int SystemCalls::open_directory_below(int directory, const std::string& path) const {
    constexpr int flags = O_PATH | O_DIRECTORY;
    const int fd = openat2(directory, path.empty() ? "." : path.c_str(), flags);
    if (fd != -ENOSYS && fd != -EPERM) {
        return fd;
    }
    UniqueFd at(SystemCalls::open_at(directory, ".", flags));
    for (const std::string_view component : path_components(path)) {
        if (!at.valid()) {
            break;
        }
        const std::string name(component);
        UniqueFd next(SystemCalls::open_at(at.get(), name.c_str(), flags | O_NOFOLLOW));
        if (next.get() == -ENOTDIR && is_link(at.get(), name.c_str())) {
            return -ELOOP;
        }
        at = std::move(next);
    }
    return at.release();
}

int SystemCalls::create_at(int directory, const char* path, int flags, mode_t mode) const {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
    return above_standard_streams(::openat(directory, path, flags | O_CLOEXEC, mode));
}

int SystemCalls::openat2(int directory, const char* path, int flags) const {
    open_how how{};
    how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_NO_SYMLINKS;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): the C library has no function of it
    return above_standard_streams(static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof(how))));
}

int SystemCalls::stat_at(int directory, const char* path, struct stat& out, int flags) const {
    return or_errno(::fstatat(directory, path, &out, flags));
}

int SystemCalls::stat_descriptor(int fd, struct stat& out) const {
    return or_errno(::fstat(fd, &out));
}

int SystemCalls::statistics(int fd, struct statvfs& out) const {
    return or_errno(::fstatvfs(fd, &out));
}

int SystemCalls::identify(int fd, FileIdentity& out) const {
    struct statx status {};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) != 0) {
        return -errno;
    }
    out = {makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino, status.stx_mode};
    return 0;
}

int SystemCalls::make_blocking(int fd) const {
    const int flags = ::fcntl(fd, F_GETFL);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    return or_errno(
        flags < 0 ? flags : ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));  // NOLINT(cppcoreguidelines-pro-type-vararg)
}

bool SystemCalls::is_view(dev_t device) const {
    return is_mount_of(device, "fuse.ckptfs ");
}

bool SystemCalls::is_fuse(dev_t device) const {
    return is_mount_of(device, "fuse ") || is_mount_of(device, "fuse.");
}

void SystemCalls::pause() const {
    std::this_thread::sleep_for(pause_between_calls);
}

ssize_t SystemCalls::read_at(int fd, std::byte* buffer, std::size_t nbytes, std::uint64_t offset) const {
    return or_errno(::pread(fd, buffer, nbytes, static_cast<off_t>(offset)));
}

ssize_t SystemCalls::write_at(int fd, const std::byte* data, std::size_t nbytes, std::uint64_t offset) const {
    return or_errno(::pwrite(fd, data, nbytes, static_cast<off_t>(offset)));
}

ssize_t SystemCalls::write_otherwise_at(int fd, const std::byte* data, std::size_t nbytes,
                                        std::optional<std::uint64_t> offset) const {
    constexpr int without_appending = 0x20;                 // RWF_NOAPPEND, for older headers
    const iovec one{const_cast<std::byte*>(data), nbytes};  // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
    const int how = offset ? without_appending : RWF_APPEND;
    return or_errno(::pwritev2(fd, &one, 1, static_cast<off_t>(offset.value_or(0)), how));
}

ssize_t SystemCalls::copy_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset,
                                std::size_t nbytes) const {
    auto from_at = static_cast<off64_t>(from_offset);
    auto to_at = static_cast<off64_t>(to_offset);
    return or_errno(::copy_file_range(from, &from_at, to, &to_at, nbytes, 0));
}

std::int64_t SystemCalls::seek(int fd, std::uint64_t offset, int whence) const {
    return or_errno(::lseek(fd, static_cast<off_t>(offset), whence));
}

int SystemCalls::set_appending(int fd, bool appends) const {
    const int flags = ::fcntl(fd, F_GETFL);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    if (flags < 0) {
        return or_errno(flags);
    }
    const int wanted = appends ? flags | O_APPEND : flags & ~O_APPEND;
    return or_errno(::fcntl(fd, F_SETFL, wanted));  // NOLINT(cppcoreguidelines-pro-type-vararg)
}

ssize_t SystemCalls::read_link_at(int directory, const char* path, char* buffer, std::size_t nbytes) const {
    return or_errno(::readlinkat(directory, path, buffer, nbytes));
}

int SystemCalls::access_acl(const std::string& path, std::vector<std::byte>& out) const {
    for (const std::size_t nbytes : {std::size_t{512}, largest_attribute_nbytes}) {
        out.resize(nbytes);
        const ssize_t length = or_errno(::lgetxattr(path.c_str(), "system.posix_acl_access", out.data(), out.size()));
        if (length >= 0) {
            out.resize(static_cast<std::size_t>(length));
            return 0;
        }
        if (length == -EOPNOTSUPP && is_link(AT_FDCWD, path.c_str())) {
            return -ELOOP;
        }
        if (length != -ERANGE) {
            return static_cast<int>(length);
        }
    }
    return -ERANGE;
}

int SystemCalls::list(int fd, std::vector<RawEntry>& out) const {
    DIR* const stream = ::fdopendir(fd);
    if (stream == nullptr) {
        const int failure = -errno;
        const UniqueFd closed(fd);
        return failure;
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> closing(stream, ::closedir);
    while (true) {
        errno = 0;
        const dirent* const entry = ::readdir(stream);  // NOLINT(concurrency-mt-unsafe): the stream is this call's own
        if (entry == nullptr) {
            return -errno;
        }
        out.push_back({static_cast<const char*>(entry->d_name), entry->d_type});
    }
}

std::uint64_t SystemCalls::raise_descriptor_limit() const {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return assumed_descriptor_limit;
    }
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    return ::setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

}  // namespace ckptfs::io
