// Everything that an export does to the place that it writes to, as an object, so that a test can make any of it fail.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

namespace ckptfs::exporting {

/// Each call answers what the system's own does, or minus its errno; signals interrupt none. No name is followed where
/// it is a symbolic link. This class is the real one; safe for concurrent use.
class WriteCalls {
 public:
    WriteCalls() = default;
    WriteCalls(const WriteCalls&) = delete;
    WriteCalls& operator=(const WriteCalls&) = delete;
    virtual ~WriteCalls() = default;

    /// Adds O_CLOEXEC and never answers 0, 1 or 2.
    virtual int open(const std::string& path, int flags, mode_t mode) const;
    virtual ssize_t read_at(int fd, std::span<std::byte> out, std::uint64_t offset) const;
    virtual ssize_t write_at(int fd, std::span<const std::byte> data, std::uint64_t offset) const;
    /// As File::copy_to().
    virtual Result<bool> copy(const File& source, std::uint64_t offset, std::uint64_t nbytes, int fd,
                              std::uint64_t fd_offset) const;
    virtual int resize(int fd, std::uint64_t nbytes) const;
    /// Makes a hole, without changing the size.
    virtual int punch(int fd, std::uint64_t offset, std::uint64_t nbytes) const;
    /// Begins to write to disk what is not there yet, and waits for none of it.
    virtual int start_sync(int fd) const;
    virtual int sync(int fd) const;
    /// Lets go of the cached pages that are on disk.
    virtual int drop_cache(int fd) const;
    /// -EWOULDBLOCK where another process has the lock.
    virtual int lock(int fd) const;
    virtual int set_attributes(int fd, mode_t mode, std::int64_t atime_ns, std::int64_t mtime_ns) const;

    virtual int stat(const std::string& path, struct stat& out) const;
    virtual int stat_descriptor(int fd, struct stat& out) const;
    virtual int statistics(const std::string& path, struct statvfs& out) const;
    /// Whether copy() may share blocks rather than take new ones: false where the file system is one that never does.
    virtual bool may_share_blocks(const std::string& path) const;
    virtual int make_directory(const std::string& path, mode_t mode) const;
    virtual int make_link(const std::string& target, const std::string& path) const;
    virtual int set_link_time(const std::string& path, std::int64_t atime_ns, std::int64_t mtime_ns) const;
    virtual int rename(const std::string& from, const std::string& to) const;
    virtual int remove(const std::string& path) const;
    virtual int remove_directory(const std::string& path) const;
};

/// "'name' cannot be <action>: ...", and what to do about it. `failure`: the errno.
[[nodiscard]] Error writing_failed(const std::string& action, const std::string& name, int failure);

/// All of `data`; a short write is gone on with.
Result<void> write_all(const WriteCalls& calls, int fd, const std::string& name, std::span<const std::byte> data,
                       std::uint64_t offset);

/// Fills `out` whole; `io` where the file ends before.
Result<void> read_exactly(const WriteCalls& calls, int fd, const std::string& name, std::span<std::byte> out,
                          std::uint64_t offset);

}  // namespace ckptfs::exporting
