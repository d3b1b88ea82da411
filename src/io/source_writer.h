// What a program may do to SOURCE besides reading it: each operation is the system's own, done as its caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ckptfs/source.h"
#include "io/caller.h"
#include "util/outcome.h"

namespace ckptfs {

/// What is to become of the attributes of a file; what is absent stays.
struct AttributeChange {
    struct Time {
        bool is_now = false;
        std::int64_t ns = 0;  ///< since the epoch, unless it is now
    };
    std::optional<std::uint32_t> mode = std::nullopt;  ///< permission bits (07777)
    std::optional<std::uint32_t> uid = std::nullopt;
    std::optional<std::uint32_t> gid = std::nullopt;
    std::optional<std::uint64_t> size = std::nullopt;  ///< bytes
    std::optional<Time> atime = std::nullopt;
    std::optional<Time> mtime = std::nullopt;
};

/// A file of SOURCE, or a directory, that is open as its user asked. Closed with the last reference. Safe for
/// concurrent use. What fails answers the system's own errno, unchanged.
class SourceHandle {
 public:
    SourceHandle() = default;
    SourceHandle(const SourceHandle&) = delete;
    SourceHandle& operator=(const SourceHandle&) = delete;
    virtual ~SourceHandle() = default;

    [[nodiscard]] virtual Outcome<FileInfo> info() const = 0;
    /// Fewer bytes than asked for at the end of the file only.
    virtual Outcome<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) const = 0;
    /// Without `offset` at the end of the file; O_APPEND at opening does not count, since fcntl(2) may have changed it.
    /// As the one who opened it, where the caller is not known. Fewer bytes only where the rest fails.
    virtual Outcome<std::size_t> write(std::optional<std::uint64_t> offset, std::span<const std::byte> data,
                                       const Caller& caller) const = 0;
    virtual Outcome<Done> change(const AttributeChange& change, const Caller& caller) const = 0;
    /// What close(2) would answer.
    virtual Outcome<Done> flush() const = 0;
    virtual Outcome<Done> sync(bool data_only) const = 0;
    /// `mode`, as fallocate(2) takes it.
    virtual Outcome<Done> allocate(int mode, std::uint64_t offset, std::uint64_t nbytes,
                                   const Caller& caller) const = 0;
    /// `whence`: SEEK_DATA or SEEK_HOLE.
    virtual Outcome<std::uint64_t> seek(std::uint64_t offset, int whence) const = 0;
    /// copy_file_range(2).
    virtual Outcome<std::size_t> copy_to(std::uint64_t offset, const SourceHandle& target, std::uint64_t target_offset,
                                         std::size_t nbytes, const Caller& caller) const = 0;
    /// For the kernel, which may then read and write by itself; -1 where there is none.
    [[nodiscard]] virtual int descriptor() const = 0;
};

/// Changes a directory tree. Paths are those of its Source, relative to the root, "" for the root itself. No symbolic
/// link is followed, on the way or at the end: ELOOP. Everything is done with the rights and the umask of the caller,
/// and what is made belongs to it. Answers the system's own errno, unchanged; ESTALE where the root is gone. Safe for
/// concurrent use.
class SourceWriter {
 public:
    SourceWriter() = default;
    SourceWriter(const SourceWriter&) = delete;
    SourceWriter& operator=(const SourceWriter&) = delete;
    virtual ~SourceWriter() = default;

    /// `flags`, as open(2) takes them; O_DIRECT, O_NOATIME and the like are left out, `mode` counts with O_CREAT.
    /// EISDIR for a directory without O_DIRECTORY, ENXIO for anything else that is no regular file.
    [[nodiscard]] virtual Outcome<std::shared_ptr<const SourceHandle>> open(const std::string& path, int flags,
                                                                            std::uint32_t mode,
                                                                            const Caller& caller) const = 0;
    virtual Outcome<Done> make_directory(const std::string& path, std::uint32_t mode, const Caller& caller) const = 0;
    /// `mode` with the bits of the type.
    virtual Outcome<Done> make_node(const std::string& path, std::uint32_t mode, std::uint64_t device,
                                    const Caller& caller) const = 0;
    virtual Outcome<Done> make_symlink(const std::string& path, const std::string& target,
                                       const Caller& caller) const = 0;
    virtual Outcome<Done> make_link(const std::string& path, const std::string& existing,
                                    const Caller& caller) const = 0;
    virtual Outcome<Done> remove_file(const std::string& path, const Caller& caller) const = 0;
    virtual Outcome<Done> remove_directory(const std::string& path, const Caller& caller) const = 0;
    /// `flags`, as renameat2(2) takes them.
    virtual Outcome<Done> rename(const std::string& from, const std::string& to, unsigned flags,
                                 const Caller& caller) const = 0;
    /// Of the entry itself, be it a symbolic link.
    virtual Outcome<Done> change(const std::string& path, const AttributeChange& change,
                                 const Caller& caller) const = 0;

    [[nodiscard]] virtual Outcome<std::vector<std::byte>> attribute(const std::string& path, const std::string& name,
                                                                    const Caller& caller) const = 0;
    [[nodiscard]] virtual Outcome<std::vector<std::string>> attributes(const std::string& path,
                                                                       const Caller& caller) const = 0;
    /// `flags`, as setxattr(2) takes them.
    virtual Outcome<Done> set_attribute(const std::string& path, const std::string& name,
                                        std::span<const std::byte> value, int flags, const Caller& caller) const = 0;
    virtual Outcome<Done> remove_attribute(const std::string& path, const std::string& name,
                                           const Caller& caller) const = 0;
};

}  // namespace ckptfs
