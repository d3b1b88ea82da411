// The system's own calls, made again where a signal interrupts them.
#include "export/write_calls.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "io/retried.h"
#include "util/text.h"
#include "util/timespec.h"

namespace ckptfs::exporting {
namespace {

using io::retried;

constexpr int lowest_descriptor = 3;

off_t as_offset(std::uint64_t value) {
    return static_cast<off_t>(value);
}

}  // namespace

int WriteCalls::open(const std::string& path, int flags, mode_t mode) const {
    const int fd = retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, mode); });
    if (fd < 0 || fd >= lowest_descriptor) {
        return fd;
    }
    const int moved = retried([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, lowest_descriptor); });
    ::close(fd);
    return moved;
}

ssize_t WriteCalls::read_at(int fd, std::span<std::byte> out, std::uint64_t offset) const {
    return retried([&] { return ::pread(fd, out.data(), out.size(), as_offset(offset)); });
}

ssize_t WriteCalls::write_at(int fd, std::span<const std::byte> data, std::uint64_t offset) const {
    return retried([&] { return ::pwrite(fd, data.data(), data.size(), as_offset(offset)); });
}

Result<bool> WriteCalls::copy(const File& source, std::uint64_t offset, std::uint64_t nbytes, int fd,
                              std::uint64_t fd_offset) const {
    return source.copy_to(offset, nbytes, fd, fd_offset);
}

int WriteCalls::resize(int fd, std::uint64_t nbytes) const {
    return retried([&] { return ::ftruncate(fd, as_offset(nbytes)); });
}

int WriteCalls::punch(int fd, std::uint64_t offset, std::uint64_t nbytes) const {
    return retried([&] {
        return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, as_offset(offset), as_offset(nbytes));
    });
}

int WriteCalls::start_sync(int fd) const {
    return retried([&] { return ::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); });
}

int WriteCalls::sync(int fd) const {
    return retried([&] { return ::fsync(fd); });
}

int WriteCalls::drop_cache(int fd) const {
    return -::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

int WriteCalls::lock(int fd) const {
    return retried([&] { return ::flock(fd, LOCK_EX | LOCK_NB); });
}

int WriteCalls::set_attributes(int fd, mode_t mode, std::int64_t atime_ns, std::int64_t mtime_ns) const {
    const int answer = retried([&] { return ::fchmod(fd, mode); });
    if (answer < 0) {
        return answer;
    }
    const std::array<timespec, 2> times{to_timespec(atime_ns), to_timespec(mtime_ns)};
    return retried([&] { return ::futimens(fd, times.data()); });
}

int WriteCalls::stat(const std::string& path, struct stat& out) const {
    return retried([&] { return ::lstat(path.c_str(), &out); });
}

int WriteCalls::stat_descriptor(int fd, struct stat& out) const {
    return retried([&] { return ::fstat(fd, &out); });
}

int WriteCalls::statistics(const std::string& path, struct statvfs& out) const {
    return retried([&] { return ::statvfs(path.c_str(), &out); });
}

bool WriteCalls::may_share_blocks(const std::string& path) const {
    constexpr std::array<long, 4> never{EXT4_SUPER_MAGIC, TMPFS_MAGIC, F2FS_SUPER_MAGIC, MSDOS_SUPER_MAGIC};
    struct statfs found {};
    return retried([&] { return ::statfs(path.c_str(), &found); }) == 0 &&
           std::find(never.begin(), never.end(), found.f_type) == never.end();
}

int WriteCalls::make_directory(const std::string& path, mode_t mode) const {
    return retried([&] { return ::mkdir(path.c_str(), mode); });
}

int WriteCalls::make_link(const std::string& target, const std::string& path) const {
    return retried([&] { return ::symlink(target.c_str(), path.c_str()); });
}

int WriteCalls::set_link_time(const std::string& path, std::int64_t atime_ns, std::int64_t mtime_ns) const {
    const std::array<timespec, 2> times{to_timespec(atime_ns), to_timespec(mtime_ns)};
    return retried([&] { return ::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW); });
}

int WriteCalls::rename(const std::string& from, const std::string& to) const {
    return retried([&] { return ::rename(from.c_str(), to.c_str()); });
}

int WriteCalls::remove(const std::string& path) const {
    return retried([&] { return ::unlink(path.c_str()); });
}

int WriteCalls::remove_directory(const std::string& path) const {
    return retried([&] { return ::rmdir(path.c_str()); });
}

Error writing_failed(const std::string& action, const std::string& name, int failure) {
    std::string sentence = in_quotes(name) + " cannot be " + action + ": " + std::generic_category().message(failure);
    if (failure == ENOSPC || failure == EDQUOT) {
        sentence += "; make room, and give the same command again: it goes on where this one stopped";
    }
    if (failure == EFBIG) {
        sentence += "; raise the limit on the size of files (ulimit -f), or choose another DEST";
    }
    return {ErrorCode::io, sentence, failure};
}

Result<void> write_all(const WriteCalls& calls, int fd, const std::string& name, std::span<const std::byte> data,
                       std::uint64_t offset) {
    while (!data.empty()) {
        const ssize_t count = calls.write_at(fd, data, offset);
        if (count <= 0) {
            return writing_failed("written at byte " + std::to_string(offset), name,
                                  count == 0 ? EIO : static_cast<int>(-count));
        }
        data = data.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return {};
}

Result<void> read_exactly(const WriteCalls& calls, int fd, const std::string& name, std::span<std::byte> out,
                          std::uint64_t offset) {
    while (!out.empty()) {
        const ssize_t count = calls.read_at(fd, out, offset);
        if (count <= 0) {
            return writing_failed("read back at byte " + std::to_string(offset), name,
                                  count == 0 ? EIO : static_cast<int>(-count));
        }
        out = out.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return {};
}

}  // namespace ckptfs::exporting
