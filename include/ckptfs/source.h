// The seam to storage: a directory tree of files that can be listed, stamped and read by position.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs {

/// What identifies one generation of a file: if any of these changes, its bytes may have.
struct FileStamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;    ///< says nothing where `inode_may_change`
    std::uint64_t size = 0;     ///< bytes
    std::int64_t mtime_ns = 0;  ///< since the epoch
    std::int64_t ctime_ns = 0;  ///< since the epoch; unlike mtime it cannot be set back
    /// The file system makes up inode numbers, and other ones once it has forgotten a file: an object store's does.
    bool inode_may_change = false;

    bool operator==(const FileStamp& other) const {
        return device == other.device && (inode == other.inode || (inode_may_change && other.inode_may_change)) &&
               size == other.size && mtime_ns == other.mtime_ns && ctime_ns == other.ctime_ns;
    }
};

enum class FileType : std::uint8_t { regular, directory, symlink, fifo, character_device, block_device, socket, other };

struct FileInfo {
    FileStamp stamp;
    FileType type = FileType::other;
    std::uint32_t mode = 0;  ///< permission bits only (07777)
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint64_t nlink = 1;   ///< hard links
    std::uint64_t device = 0;  ///< which one a device file is
    std::int64_t atime_ns = 0;
    std::uint64_t blocks = 0;  ///< 512-byte units in use
};

struct DirectoryEntry {
    std::string name;
    FileType type = FileType::other;
};

/// Of the file system that a source lies on, as statvfs(3) says it.
struct SourceStatistics {
    std::uint64_t block_nbytes = 0;
    std::uint64_t blocks = 0;
    std::uint64_t free_blocks = 0;
    std::uint64_t available_blocks = 0;
    std::uint64_t files = 0;
    std::uint64_t free_files = 0;
    std::uint64_t max_name_nbytes = 0;
};

/// Bytes of a file that are alike.
struct FileRun {
    std::uint64_t nbytes = 0;
    bool is_hole = false;  ///< zeros that nobody has to read; else anything

    bool operator==(const FileRun&) const = default;
};

/// An open file of the operating system's, as long as `owner` is held.
struct OpenDescriptor {
    int number = -1;  ///< -1: there is none
    std::shared_ptr<const void> owner = nullptr;
};

/// Takes bytes to where the system brings them: pages of files, as the system has them, and memory.
class PageTarget {
 public:
    PageTarget() = default;
    PageTarget(const PageTarget&) = delete;
    PageTarget& operator=(const PageTarget&) = delete;
    virtual ~PageTarget() = default;

    /// Forgets what was taken until now; `nbytes` are to follow. False where they would not fit.
    [[nodiscard]] virtual bool begin(std::uint64_t nbytes) = 0;
    /// Whether nothing was taken since begin().
    [[nodiscard]] virtual bool is_empty() const = 0;
    /// The next `nbytes`, which `descriptor` has from `offset` on. False where not all of them are there to be taken.
    [[nodiscard]] virtual bool take(int descriptor, std::uint64_t offset, std::uint64_t nbytes) = 0;
    /// The next bytes, which are copied.
    [[nodiscard]] virtual bool take(std::span<const std::byte> bytes) = 0;
};

class FilesRead;

/// One generation of a file's bytes. Immutable and safe for concurrent use.
class File {
 public:
    File() = default;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    virtual ~File() = default;

    /// For messages: as a user would write it.
    [[nodiscard]] virtual const std::string& name() const = 0;

    /// In bytes; never changes.
    [[nodiscard]] virtual std::uint64_t size() const = 0;

    /// The names of the files whose bytes it shows, each once, in the order in which they come first.
    [[nodiscard]] virtual std::vector<std::string> source_names() const { return {name()}; }

    /// Fills `out` whole with the bytes from `offset` on, or fails: there are no short reads.
    /// `stale` when the file behind it is no longer the generation that was opened, `invalid_argument` past the end.
    virtual Result<void> read(std::uint64_t offset, std::span<std::byte> out) const = 0;

    /// As read(), but for the question whether the file behind it is still the generation that was opened: that is left
    /// to `read`, which asks once for many reads. Until it has, the bytes may be another generation's.
    virtual Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& /*read*/) const {
        return this->read(offset, out);
    }
    /// Hands `nbytes` from `offset` on over to `target`, which has begun, with read_unchecked()'s errors. False where
    /// that cannot be, or does not pay: read them then. As long as `target` has them they change with the file, unless
    /// that is cut off or replaced: whoever wants to know asks `read` once more when they have gone on.
    virtual Result<bool> hand_over_unchecked(std::uint64_t /*offset*/, std::uint64_t /*nbytes*/, PageTarget& /*target*/,
                                             FilesRead& /*read*/) const {
        return false;
    }
    /// `stale` when the file behind it is no longer the generation that was opened.
    virtual Result<void> check() const { return {}; }
    /// Adds the files of a source that its bytes come from, each as often as it may be found: itself, where it is one.
    virtual void add_origins(std::vector<const File*>& out) const { out.push_back(this); }

    /// Lets the system copy `nbytes` from `offset` on into the descriptor `target` from `target_offset` on, without
    /// their passing through this process: file systems that can share the blocks. False where it does not, whatever
    /// the reason, `target`'s disk being full among them; a part may have been written then, and who reads and writes
    /// instead learns whose error it was. Errors are those of read(): they are the source's.
    virtual Result<bool> copy_to(std::uint64_t /*offset*/, std::uint64_t /*nbytes*/, int /*target*/,
                                 std::uint64_t /*target_offset*/) const {
        return false;
    }

    /// The system's file that has exactly these bytes, from the first to the last, if there is one and it can be had:
    /// for whoever reads without this object, and without being told when it changes.
    [[nodiscard]] virtual OpenDescriptor whole_file() const { return {}; }

    /// What begins at `offset`, which lies inside, and how far it is known to go: at least a byte. Reads nothing. Where
    /// nobody knows of holes, all is data. Errors are those of read().
    virtual Result<FileRun> run_at(std::uint64_t offset) const { return FileRun{size() - offset, false}; }
};

/// Files that were read, to be checked when all is read: each once, however often it was read. Not for concurrent use.
class FilesRead {
 public:
    /// The caller keeps it alive until check().
    void add(const File* file) {
        if (last_ == file) {
            return;
        }
        if (last_ != nullptr) {
            before_.push_back(last_);
        }
        last_ = file;
    }
    /// The first failure of a File::check().
    Result<void> check() {
        std::sort(before_.begin(), before_.end());
        before_.erase(std::unique(before_.begin(), before_.end()), before_.end());
        for (const File* const file : before_) {
            if (file != last_) {
                CKPTFS_TRY(file->check());
            }
        }
        return last_ != nullptr ? last_->check() : Result<void>();
    }

 private:
    const File* last_ = nullptr;  // most reads are of one file, and cost no memory
    std::vector<const File*> before_;
};

/// A directory tree. Paths are relative to its root, '/' between components, "" for the root itself; ".." is refused.
/// Absolute ones are those that resolve() answers, and what lies below them. `not_found` when nothing is there, or
/// something that is no directory where one is asked for. Safe for concurrent use.
class Source {
 public:
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;

    /// `path` as a user would write it, for messages.
    [[nodiscard]] virtual std::string display(std::string_view path) const = 0;

    /// Looks at what the root's own name leads to now, which is the root from then on: a directory that was removed and
    /// made again, or replaced, is followed. While the name leads to no directory all paths are `stale`. Files that are
    /// open stay what they are.
    virtual void refresh() const {}

    /// Lets go of what nobody has used since the last call, descriptors of files above all: a file that was removed
    /// keeps its disk as long as one is open.
    virtual void release_unused() const {}

    /// This program has renamed a directory; `exchanged`: what was at `to` is at `from` now. Files that are open in
    /// them stay what they are.
    virtual void note_rename(const std::string& /*from*/, const std::string& /*to*/, bool /*exchanged*/) const {}

    /// Of where the root is now. `unsupported` where that is no file system.
    virtual Result<SourceStatistics> statistics() const {
        return Error(ErrorCode::unsupported, "'" + display("") + "' lies on no file system");
    }

    /// Of the entry itself: a symbolic link is not followed.
    virtual Result<FileInfo> stat(const std::string& path) const = 0;
    /// Of what the entry leads to.
    virtual Result<FileInfo> stat_target(const std::string& path) const = 0;

    /// The mode that `info`, which stat_target() says of the entry, comes to where an access control list denies more
    /// than its bits say. Costs a look at the list.
    virtual Result<std::uint32_t> granted_mode(const std::string& /*path*/, const FileInfo& info) const {
        return info.mode;
    }
    /// The directories that must be searched on the way to `path`, which has no symbolic links in it, with their modes
    /// as granted_mode() has them: from the root on, for an absolute path from "/" on, for "" those above the root.
    virtual Result<std::vector<FileInfo>> way_to(const std::string& /*path*/) const { return std::vector<FileInfo>(); }

    /// Sorted by the bytes of the names, without "." and "..".
    virtual Result<std::vector<DirectoryEntry>> list(const std::string& path) const = 0;

    virtual Result<std::string> read_link(const std::string& path) const = 0;
    /// Where the entry leads once every symbolic link on the way has been followed: a path without links, absolute
    /// where it lies outside. `not_found` where it leads nowhere, `unsupported` where it leads into a mount of ckptfs.
    virtual Result<std::string> resolve(const std::string& path) const = 0;

    /// Pins the generation that is there now, following symbolic links; `unsupported` for anything but a regular file.
    /// Few descriptors stay open, however many files.
    virtual Result<std::shared_ptr<const File>> open(const std::string& path) const = 0;
};

}  // namespace ckptfs
