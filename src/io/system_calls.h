// The few system calls behind DirectorySource, as an object, so that a test can make them fail.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ckptfs::io {

inline constexpr std::size_t largest_attribute_nbytes = 65536;  ///< XATTR_SIZE_MAX of Linux

/// How often an opening that is answered EAGAIN is tried again, with pause(): who holds a lease has 45 seconds to give
/// it back (lease_break_time), unless the system says otherwise.
inline constexpr int most_pauses = 6000;

/// Each call answers what the system's own does, or minus its errno. This class is the real one; safe for concurrent
/// use.
class SystemCalls {
 public:
    struct RawEntry {
        std::string name;
        unsigned char type = 0;  ///< a DT_ constant
    };
    struct FileIdentity {
        dev_t device = 0;
        std::uint64_t inode = 0;
        unsigned mode = 0;  ///< for the S_IS macros

        [[nodiscard]] bool same_file(const FileIdentity& other) const {
            return device == other.device && inode == other.inode;
        }
    };

    SystemCalls() = default;
    SystemCalls(const SystemCalls&) = delete;
    SystemCalls& operator=(const SystemCalls&) = delete;
    virtual ~SystemCalls() = default;

    /// Adds O_CLOEXEC and never answers 0, 1 or 2.
    virtual int open_at(int directory, const char* path, int flags) const;
    /// As open_at(), but answers -ELOOP where a symbolic link is on the way or at its end. A kernel without openat2()
    /// notices only one at the end.
    virtual int open_real_at(int directory, const char* path, int flags) const;
    /// An O_PATH descriptor of the directory `path`, relative and without "..", with no symbolic link followed on the
    /// way or at the end, whatever the kernel: -ELOOP. "": `directory` itself.
    virtual int open_directory_below(int directory, const std::string& path) const;
    /// As open_at(), with the mode of what O_CREAT makes.
    virtual int create_at(int directory, const char* path, int flags, mode_t mode) const;
    virtual int stat_at(int directory, const char* path, struct stat& out, int flags) const;
    virtual int stat_descriptor(int fd, struct stat& out) const;
    /// Of the file system of `fd` (O_PATH will do).
    virtual int statistics(int fd, struct statvfs& out) const;
    /// Of what `fd` (O_PATH will do) refers to, as far as the kernel knows it: a file system that is not local is not
    /// asked, so that a FUSE daemon may ask this of its own mount.
    virtual int identify(int fd, FileIdentity& out) const;
    /// Takes O_NONBLOCK back.
    virtual int make_blocking(int fd) const;
    /// Whether a file system of this number is a mount of ckptfs.
    [[nodiscard]] virtual bool is_view(dev_t device) const;
    /// Whether one of this number is served by a program through FUSE. That program is not asked.
    [[nodiscard]] virtual bool is_fuse(dev_t device) const;
    /// Waits before a call that was answered EAGAIN is made again.
    virtual void pause() const;
    virtual ssize_t read_at(int fd, std::byte* buffer, std::size_t nbytes, std::uint64_t offset) const;
    virtual ssize_t write_at(int fd, const std::byte* data, std::size_t nbytes, std::uint64_t offset) const;
    /// At `offset` even if `fd` appends, which is -EOPNOTSUPP before Linux 6.9; without one at the end of the file even
    /// if it does not.
    virtual ssize_t write_otherwise_at(int fd, const std::byte* data, std::size_t nbytes,
                                       std::optional<std::uint64_t> offset) const;
    /// Of one file to another within the kernel.
    virtual ssize_t copy_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset,
                               std::size_t nbytes) const;
    /// `whence`: SEEK_DATA or SEEK_HOLE; the answer is a position.
    virtual std::int64_t seek(int fd, std::uint64_t offset, int whence) const;
    /// Whether writes to `fd` append. Answers 0.
    virtual int set_appending(int fd, bool appends) const;
    virtual ssize_t read_link_at(int directory, const char* path, char* buffer, std::size_t nbytes) const;
    /// The bytes of a file's POSIX ACL; -ENODATA where it has none, -ELOOP where a symbolic link is at the path's end.
    virtual int access_acl(const std::string& path, std::vector<std::byte>& out) const;
    /// All entries of a directory, "." and ".." included, in the system's order. Takes `fd` over.
    virtual int list(int fd, std::vector<RawEntry>& out) const;
    /// Raises the soft limit of open descriptors to the hard one; answers what holds afterwards.
    virtual std::uint64_t raise_descriptor_limit() const;

 protected:
    /// With RESOLVE_NO_SYMLINKS; -ENOSYS before Linux 5.6.
    virtual int openat2(int directory, const char* path, int flags) const;
};

}  // namespace ckptfs::io
