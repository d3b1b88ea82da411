// What the nodes of a mount that can be written share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fs/mount_tree.h"
#include "fs/path_move.h"
#include "fs/writable_tags.h"
#include "io/source_writer.h"

namespace ckptfs {

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
    /// The tag that the entry at `path` counts for; nullptr: none.
    [[nodiscard]] std::shared_ptr<WritableTag> tag_of(const std::string& path);

    /// What SOURCE has at `path` now, in the directory whose inode is `parent`.
    [[nodiscard]] Outcome<LookedUpEntry> entry(const std::string& path, std::uint64_t parent);
    /// The same for what has just been found there, and is no symbolic link.
    [[nodiscard]] LookedUpEntry entry(const std::string& path, std::uint64_t parent, const FileInfo& info);

    /// What has just been made at `path`. A symbolic link is one, as the kernel asks, whatever whoever looks its name
    /// up next is shown.
    [[nodiscard]] Outcome<LookedUpEntry> new_entry(const std::string& path, std::uint64_t parent);

    /// This mount has renamed something.
    void note_rename(const std::string& from, const std::string& to, bool exchanged);
    /// Tells all nodes, and what is known of tags: directories have moved.
    void follow(const PathMove& move);

 private:
    [[nodiscard]] Outcome<LookedUpEntry> link_entry(const std::string& path, std::uint64_t parent,
                                                    const FileInfo& info);
    [[nodiscard]] LookedUpEntry remember(const std::string& path, std::uint64_t parent, const FileInfo& info,
                                         std::shared_ptr<Node> node);

    MountTree& tree_;
    const ViewRequest request_;
    std::shared_ptr<const SourceWriter> writer_;
    bool in_place_;
    WritableTags tags_;
};

/// The directory that the entry at `path` lies in, and its name there.
struct EntryPath {
    std::string directory;
    std::string name;
};
[[nodiscard]] EntryPath split(const std::string& path);

}  // namespace ckptfs
