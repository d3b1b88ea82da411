// What an inode can stand for.
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/file_system.h"
#include "fs/identity.h"
#include "util/outcome.h"

namespace ckptfs {

class SourceDirectory;

/// A file that was opened, and what to look at again when it turns out to be stale (nullptr: nothing).
struct OpenedBytes {
    std::shared_ptr<const File> file;
    std::shared_ptr<SourceDirectory> directory = nullptr;
    bool read_once = false;  ///< see View::read_once()
    /// Instead of `file`: SOURCE's own, as it is and will be.
    std::shared_ptr<const SourceHandle> handle = nullptr;
    bool keeps_pages = true;  ///< see OpenedFile
    bool is_of_now = false;   ///< see OpenedFile
    /// What `file` is of, which would be made a second time if it were not kept while the file is open.
    std::shared_ptr<const void> content = nullptr;
};

/// A file that was made, and opened.
struct CreatedBytes {
    LookedUpEntry entry;
    OpenedBytes bytes;
};

/// What is in a directory at one moment.
struct Listing {
    std::uint64_t parent_inode = root_inode;
    std::shared_ptr<const std::vector<DirectoryEntry>> entries;
    /// Of an entry that the source has as a directory, the type is not known before it is looked at.
    bool directories_may_be_files = false;
    std::shared_ptr<const View> view = nullptr;  ///< whose files follow the entries; null: none
    IdentityHasher view_identity = {};           ///< of the view's files, up to their names
};

/// Safe for concurrent use. Each operation answers what the operation of FileSystem of the like name does; `inode` is
/// the node's own number.
class Node {
 public:
    Node() = default;
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    virtual ~Node() = default;

    virtual Outcome<FileAttributes> attributes(std::uint64_t inode) = 0;
    virtual Outcome<LookedUpEntry> lookup(std::uint64_t /*inode*/, std::string_view /*name*/) { return Errno{ENOTDIR}; }
    virtual Outcome<Listing> list() { return Errno{ENOTDIR}; }
    virtual Outcome<OpenedBytes> open() { return Errno{EISDIR}; }
    virtual Outcome<std::string> read_link() { return Errno{EINVAL}; }

    // Only what passes to SOURCE in a mount that can be written has more than these.
    virtual Outcome<OpenedBytes> open_for(int flags, const Caller& /*caller*/) {
        return writes(flags) ? Errno{EROFS} : open();
    }
    virtual Outcome<CreatedBytes> create(std::uint64_t /*inode*/, std::string_view /*name*/, int /*flags*/,
                                         std::uint32_t /*mode*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<LookedUpEntry> make_directory(std::uint64_t /*inode*/, std::string_view /*name*/,
                                                  std::uint32_t /*mode*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<LookedUpEntry> make_node(std::uint64_t /*inode*/, std::string_view /*name*/, std::uint32_t /*mode*/,
                                             std::uint64_t /*device*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<LookedUpEntry> make_symlink(std::uint64_t /*inode*/, std::string_view /*name*/,
                                                const std::string& /*target*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    /// In this directory, to `existing`.
    virtual Outcome<LookedUpEntry> make_link(std::uint64_t /*inode*/, std::string_view /*name*/, Node& /*existing*/,
                                             const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<Done> remove_file(std::string_view /*name*/, const Caller& /*caller*/) { return Errno{EROFS}; }
    virtual Outcome<Done> remove_directory(std::string_view /*name*/, const Caller& /*caller*/) { return Errno{EROFS}; }
    /// From this directory to `target`.
    virtual Outcome<Done> rename(std::uint64_t /*inode*/, std::string_view /*name*/, Node& /*target*/,
                                 std::uint64_t /*target_inode*/, std::string_view /*new_name*/, unsigned /*flags*/,
                                 const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<FileAttributes> change(std::uint64_t /*inode*/, const SourceHandle* /*handle*/,
                                           const AttributeChange& /*change*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<Done> sync_directory(bool /*data_only*/) { return Done{}; }
    virtual Outcome<std::vector<std::byte>> attribute(const std::string& /*name*/, const Caller& /*caller*/) {
        return Errno{ENODATA};
    }
    virtual Outcome<std::vector<std::string>> attribute_names(const Caller& /*caller*/) {
        return std::vector<std::string>();
    }
    virtual Outcome<Done> set_attribute(const std::string& /*name*/, std::span<const std::byte> /*value*/,
                                        int /*flags*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }
    virtual Outcome<Done> remove_attribute(const std::string& /*name*/, const Caller& /*caller*/) {
        return Errno{EROFS};
    }

    /// Of open(2)'s flags.
    [[nodiscard]] static bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }
};

}  // namespace ckptfs
