// What an inode can stand for.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/file_system.h"
#include "fs/identity.h"
#include "fs/outcome.h"

namespace ckptfs {

class SourceDirectory;

/// A file that was opened, and what to look at again when it turns out to be stale (nullptr: nothing).
struct OpenedBytes {
    std::shared_ptr<const File> file;
    std::shared_ptr<SourceDirectory> directory = nullptr;
    bool read_once = false;  ///< see View::read_once()
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
};

}  // namespace ckptfs
