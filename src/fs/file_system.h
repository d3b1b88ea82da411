// The tree that a mount shows: SOURCE mirrored lazily, with the views of its tags where they stand. Knows no kernel and
// no ZeRO.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/mount_state.h"
#include "io/source_writer.h"
#include "stream/read_ahead.h"
#include "util/outcome.h"

namespace ckptfs {

inline constexpr std::uint64_t root_inode = 1;
/// For directory entries whose inode would cost a look at the source.
inline constexpr std::uint64_t unknown_inode = 0xffffffff;

/// Nanoseconds since the epoch.
std::int64_t system_time_ns();
void sleep_for(std::chrono::milliseconds duration);

struct FileSystemOptions {
    /// The root mirrors SOURCE under this request; without it the root is a catalogue, with a directory for each
    /// request.
    std::optional<ViewRequest> request;
    /// Of a catalogue: what its root has besides. None of it has the name of a request.
    std::vector<StaticEntry> catalogue_entries = {};
    /// Other users may be let in: nothing is shown more open than the directories on the way to it are. Those who read
    /// with the rights of the mount's own user have gone that way.
    bool allow_other = false;
    /// Changes SOURCE: what is written in the mount is written there. Takes a request for a world size. nullptr: the
    /// mount is read-only.
    std::shared_ptr<const SourceWriter> writer = nullptr;
    /// Of a mount that can be written: it covers SOURCE itself, so that every symbolic link leads where it always did,
    /// and is shown as it is.
    bool in_place = false;
    /// Of what fetch() returns; nullptr: nothing is read before it is asked for.
    std::shared_ptr<ReadAhead> read_ahead = nullptr;
    /// What SOURCE is called where a view has one file in its place.
    std::string source_name = "checkpoint";
    /// What the mount says of itself (fs/mount_state.h).
    OwnFiles own_files = {};
    /// What tests replace: the clock that freshness is measured with, the one that times of files are compared with,
    /// and how the time passes.
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
    std::function<std::int64_t()> wall_now_ns = system_time_ns;
    std::function<void(std::chrono::milliseconds)> sleep = sleep_for;
};

/// What a SOURCE at `path` is called.
[[nodiscard]] std::string name_of_source(const std::string& path);

struct Attributes {
    std::uint64_t inode = 0;
    FileType type = FileType::other;  ///< fifos, devices and sockets: shown, never opened
    std::uint32_t mode = 0;           ///< permission bits; without the write bits in a read-only mount
    std::uint32_t nlink = 1;
    std::uint64_t device = 0;  ///< which one a device file is
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint64_t size = 0;    ///< bytes
    std::uint64_t blocks = 0;  ///< 512-byte units
    std::int64_t atime_ns = 0;
    std::int64_t mtime_ns = 0;
    std::int64_t ctime_ns = 0;
};

/// How long the kernel may rely on an answer without asking again.
using Lifetime = std::chrono::duration<double>;

struct LookedUpEntry {
    Attributes attributes;
    Lifetime entry_lifetime{0};
    Lifetime attributes_lifetime{0};
};

struct FileAttributes {
    Attributes attributes;
    Lifetime lifetime{0};
};

struct OpenedFile {
    std::uint64_t handle = 0;
    bool read_once = false;  ///< see View::read_once()
    /// Whether the pages that the kernel has of this inode are those of the file as it is now.
    bool keeps_pages = true;
    /// Made for this opening: the next one has other bytes, of another size, so that no page of it is to be kept.
    bool is_of_now = false;
};

/// A file that was made and opened in one step.
struct CreatedFile {
    LookedUpEntry entry;
    OpenedFile file;
};

struct ListedEntry {
    const char* name = "";  ///< valid during the call only
    std::uint64_t inode = unknown_inode;
    std::optional<FileType>
        type;  ///< nullopt where it would cost a look: a symbolic link may be shown as another thing
    std::uint64_t next_offset = 0;  ///< where the listing goes on after this entry
};

/// Every operation is safe for concurrent use, and noexcept: what nobody expected is EIO and a line in the log.
/// Inode numbers depend on the path in the mount and the generation of what is there, so that they are the same after a
/// remount of an unchanged source, and a changed file never takes over the kernel's cached pages.
class FileSystem {
 public:
    /// `invalid_argument` for a request without a name, such as one of a size out of range, and for a writer with any
    /// request but one for a world size.
    static Result<std::unique_ptr<FileSystem>> create(std::shared_ptr<const Source> source,
                                                      std::shared_ptr<const TagReader> reader,
                                                      FileSystemOptions options);
    FileSystem(const FileSystem&) = delete;
    FileSystem& operator=(const FileSystem&) = delete;
    ~FileSystem();

    /// A tag that the caller has read already, so that it is not read again. Ignored if it is broken or no longer what
    /// `directory` (relative to SOURCE) holds. Before anything else is called; of several the last one counts.
    void adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag) noexcept;

    /// Counts one reference of the kernel to the inode, which forget() takes back.
    Outcome<LookedUpEntry> lookup(std::uint64_t parent, std::string_view name) noexcept;
    void forget(std::uint64_t inode, std::uint64_t lookups) noexcept;

    Outcome<FileAttributes> getattr(std::uint64_t inode) noexcept;
    Outcome<std::string> readlink(std::uint64_t inode) noexcept;

    Outcome<OpenedFile> open(std::uint64_t inode) noexcept;
    /// For who reads in this process: what open() reads from, without a handle. Usable without this object. Not of a
    /// mount that can be written.
    Outcome<std::shared_ptr<const File>> open_file(std::uint64_t inode) noexcept;
    /// `flags`, as open(2) takes them. ESTALE where the name now stands for something else, so that the kernel asks for
    /// it again: it does so by itself, and the program that opens never sees it.
    Outcome<OpenedFile> open(std::uint64_t inode, int flags, const Caller& caller) noexcept;
    /// Fills the front of `out` with the bytes from `offset` to the end of the file or of `out`, whichever comes first;
    /// never less. The value is their number.
    Outcome<std::size_t> read(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out) noexcept;
    /// The same bytes, in `out` or where they have been read ahead to. Bytes of a file that may be handed over go to
    /// `target` instead, if there is one and that pays; flush() says then whether all of them were of the generation
    /// that was opened. What is returned is to be destroyed when its bytes have gone on.
    Outcome<ReadBytes> fetch(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out,
                             PageTarget* target = nullptr) noexcept;
    /// Bytes of this handle may be handed over: nobody keeps them for other readers, who would not be told that they
    /// were wrong.
    void let_hand_over(std::uint64_t handle) noexcept;
    /// Whether fetch() may hand anything over.
    [[nodiscard]] bool hands_over() const noexcept;
    /// The system's own file behind the handle, where the kernel may read it, and write it if it is open for that, by
    /// itself: SOURCE's of a mount that can be written, and otherwise what File::whole_file() says.
    OpenDescriptor whole_file(std::uint64_t handle) noexcept;
    void release(std::uint64_t handle) noexcept;

    /// The value is a handle, whose listing is that of the moment of opening.
    Outcome<std::uint64_t> opendir(std::uint64_t inode) noexcept;
    /// Hands entries from `offset` (0: the start) to `take` until it returns false or there are no more.
    Outcome<bool> readdir(std::uint64_t handle, std::uint64_t offset,
                          const std::function<bool(const ListedEntry&)>& take) noexcept;
    void releasedir(std::uint64_t handle) noexcept;

    Outcome<SourceStatistics> statfs() noexcept;

    // What changes something. In a read-only mount, and for what a view has no place for, EROFS.

    /// Counts one reference of the kernel to the new inode, as lookup() does; so do all that return an entry.
    Outcome<CreatedFile> create(std::uint64_t parent, std::string_view name, int flags, std::uint32_t mode,
                                const Caller& caller) noexcept;
    Outcome<LookedUpEntry> mkdir(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                                 const Caller& caller) noexcept;
    /// `mode` with the bits of the type.
    Outcome<LookedUpEntry> mknod(std::uint64_t parent, std::string_view name, std::uint32_t mode, std::uint64_t device,
                                 const Caller& caller) noexcept;
    Outcome<LookedUpEntry> symlink(std::uint64_t parent, std::string_view name, std::string_view target,
                                   const Caller& caller) noexcept;
    Outcome<LookedUpEntry> link(std::uint64_t inode, std::uint64_t parent, std::string_view name,
                                const Caller& caller) noexcept;
    Outcome<Done> unlink(std::uint64_t parent, std::string_view name, const Caller& caller) noexcept;
    Outcome<Done> rmdir(std::uint64_t parent, std::string_view name, const Caller& caller) noexcept;
    /// `flags`, as renameat2(2) takes them.
    Outcome<Done> rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                         std::string_view new_name, unsigned flags, const Caller& caller) noexcept;
    /// `handle`: of an open file, where the program named one.
    Outcome<FileAttributes> setattr(std::uint64_t inode, std::optional<std::uint64_t> handle,
                                    const AttributeChange& change, const Caller& caller) noexcept;

    /// Without `offset` at the end of the file. The value is how much was written.
    Outcome<std::size_t> write(std::uint64_t handle, std::optional<std::uint64_t> offset,
                               std::span<const std::byte> data, const Caller& caller) noexcept;
    Outcome<Done> flush(std::uint64_t handle) noexcept;
    Outcome<Done> fsync(std::uint64_t handle, bool data_only) noexcept;
    Outcome<Done> fsyncdir(std::uint64_t handle, bool data_only) noexcept;
    Outcome<Done> fallocate(std::uint64_t handle, int mode, std::uint64_t offset, std::uint64_t nbytes,
                            const Caller& caller) noexcept;
    /// `whence`: SEEK_DATA or SEEK_HOLE. A file of a view is all data.
    Outcome<std::uint64_t> lseek(std::uint64_t handle, std::uint64_t offset, int whence) noexcept;
    Outcome<std::size_t> copy_file_range(std::uint64_t handle, std::uint64_t offset, std::uint64_t target_handle,
                                         std::uint64_t target_offset, std::size_t nbytes,
                                         const Caller& caller) noexcept;

    /// Extended attributes. A read-only mount, and a file of a view, have none: ENODATA, and an empty list. But for
    /// `user.ckptfs.generation` and `user.ckptfs.sources` of a file of a view, the paths of the files that it is cut
    /// from, one a line, and those of the root (OwnFile): they are found by name, and never listed.
    Outcome<std::vector<std::byte>> getxattr(std::uint64_t inode, std::string_view name, const Caller& caller) noexcept;
    Outcome<std::vector<std::string>> listxattr(std::uint64_t inode, const Caller& caller) noexcept;
    Outcome<Done> setxattr(std::uint64_t inode, std::string_view name, std::span<const std::byte> value, int flags,
                           const Caller& caller) noexcept;
    Outcome<Done> removexattr(std::uint64_t inode, std::string_view name, const Caller& caller) noexcept;

    /// For who reads in this process: what was found until now is relied on no longer.
    void refresh() noexcept;

    /// To be called every few seconds, from any one thread: looks where SOURCE is, and lets go of the descriptors that
    /// nobody has used since the last call and of tags that are gone.
    void tidy() noexcept;

    /// Inodes that the kernel refers to now, the root not counted.
    [[nodiscard]] std::size_t live_inodes() const noexcept;

    /// Of now; waits for nobody who reads a tag.
    [[nodiscard]] FileSystemState state() const;

 private:
    class Implementation;
    explicit FileSystem(std::unique_ptr<Implementation> implementation);

    std::unique_ptr<Implementation> implementation_;
};

}  // namespace ckptfs
