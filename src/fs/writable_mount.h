// What the nodes of a mount that can be written share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/mount_tree.h"
#include "fs/writable_tags.h"
#include "io/source_writer.h"

namespace ckptfs {

class WritableDirectory;
class WritableNode;

/// Of what SOURCE has under `key`, device and inode.
[[nodiscard]] Identity writable_identity(FileType type, const WritableTags::Key& key);

/// Where an entry of SOURCE is, or may be.
struct EntryPlace {
    std::shared_ptr<WritableDirectory> directory;
    std::uint64_t directory_inode = root_inode;  ///< in the mount
    std::string directory_path;
    std::string name;
    std::string path;
};

/// Safe for concurrent use. Outlives its nodes.
class WritableMount {
 public:
    /// `in_place`: see FileSystemOptions.
    WritableMount(MountTree& tree, const ViewRequest& request, std::shared_ptr<const SourceWriter> writer,
                  bool in_place);

    [[nodiscard]] MountTree& tree() const { return tree_; }
    [[nodiscard]] const Source& source() const { return tree_.source(); }
    [[nodiscard]] const SourceWriter& writer() const { return *writer_; }
    [[nodiscard]] WritableTags& tags() { return tags_; }
    [[nodiscard]] bool is_in_place() const { return in_place_; }

    /// Whether an entry of this name counts for the state of a tag: any other is SOURCE's at all times.
    [[nodiscard]] bool is_shard(std::string_view name) const;

    /// What SOURCE has there now.
    [[nodiscard]] Outcome<LookedUpEntry> entry(const EntryPlace& place);
    /// The same for what has just been made there: a symbolic link is one, be it shown as one or not.
    /// `inodes_before`: what numbers_given() was before it was made; nothing where it had another name already.
    [[nodiscard]] Outcome<LookedUpEntry> made_entry(const EntryPlace& place,
                                                    std::optional<std::uint64_t> inodes_before);
    /// For what has just been found there, and is no symbolic link.
    [[nodiscard]] LookedUpEntry entry(const EntryPlace& place, const FileInfo& info);
    /// The node that the kernel has of a file or directory; nullptr: it has none.
    [[nodiscard]] std::shared_ptr<WritableNode> known(const FileInfo& info);
    /// The node of what goes with its name `path`, to be asked before; nullptr: there is none, or it has other names.
    [[nodiscard]] std::shared_ptr<WritableNode> leaving(const std::string& path);
    /// What the kernel knows as `node` is gone. For the kernel a directory is dead from then on, and an open file is
    /// what it was: what SOURCE makes next under the same device and inode is another one. nullptr: no-op.
    void retire(const std::shared_ptr<WritableNode>& node);
    /// The same for what had the device and inode of a file that has just been made: others may have removed it past
    /// the mount. `inodes_before` is what numbers_given() was then.
    void retire_former(const FileInfo& made, std::uint64_t inodes_before);

 private:
    [[nodiscard]] Outcome<LookedUpEntry> link_entry(const EntryPlace& place, const FileInfo& info);
    /// Whether the symbolic link there is shown as it is.
    [[nodiscard]] Outcome<bool> is_shown_as_link(const EntryPlace& place) const;
    template <class Node>
    [[nodiscard]] LookedUpEntry remember(const EntryPlace& place, const FileInfo& info);

    MountTree& tree_;
    const ViewRequest request_;
    std::shared_ptr<const SourceWriter> writer_;
    bool in_place_;
    WritableTags tags_;
};

}  // namespace ckptfs
