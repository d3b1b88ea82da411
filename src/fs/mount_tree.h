// What the nodes of one mount share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fs/file_system.h"
#include "fs/identity.h"
#include "fs/inode_table.h"
#include "fs/node.h"
#include "fs/shown_root.h"
#include "fs/source_tree.h"

namespace ckptfs {

/// Safe for concurrent use. Outlives its nodes.
class MountTree {
 public:
    /// `has_request`: the mount shows one view rather than a catalogue. `source_name`: see FileSystemOptions.
    MountTree(std::shared_ptr<SourceTree> tree, bool has_request, std::string source_name);

    [[nodiscard]] SourceTree& tree() const { return *tree_; }
    [[nodiscard]] const Source& source() const { return tree_->source(); }
    [[nodiscard]] const TagReader& reader() const { return tree_->reader(); }
    [[nodiscard]] const std::string& source_name() const { return source_name_; }
    /// SOURCE itself at the root of a view.
    [[nodiscard]] const std::shared_ptr<const ShownRoot>& source_root() const { return source_root_; }
    [[nodiscard]] InodeTable& inodes() { return inodes_; }
    [[nodiscard]] const InodeTable& inodes() const { return inodes_; }

    /// The start of every identity: the path in the mount.
    [[nodiscard]] IdentityHasher identity_of(const ViewRequest& request, std::string_view place) const;

    /// Whoever may write SOURCE could put a link in the place of a directory that the kernel still holds, and let
    /// others look where it leads with the rights of the mount's user, past the directories on the way there. A link
    /// that stays there is found; one that is exchanged between this check and the look is not.
    [[nodiscard]] bool is_still_in_place(const std::string& path) const;

    /// With the permissions that an access control list leaves, and that whoever comes by the way to it has.
    [[nodiscard]] Result<FileInfo> as_granted(const std::string& path, FileInfo info) const;
    [[nodiscard]] Result<FileInfo> as_reached(const std::string& path, const FileInfo& info) const;
    /// What the way to all that is shown below `root` leaves, where that is no directory of the mount.
    [[nodiscard]] Result<std::vector<Permissions>> passages_to(const ShownRoot& root) const;

    void report_link_once(const std::string& path, const std::string& reason);

 private:
    std::shared_ptr<SourceTree> tree_;
    bool has_request_;
    std::string source_name_;
    std::shared_ptr<const ShownRoot> source_root_ = std::make_shared<const ShownRoot>();
    InodeTable inodes_;

    std::mutex reported_mutex_;
    std::set<std::string> reported_links_;
};

/// What an identity is of, so that a path that changes its nature changes its inode.
enum class NodeKind : std::uint64_t {
    directory = 1,
    passed_through = 2,
    broken_shard = 3,
    virtual_file = 4,
    link = 5,
    view_directory = 6,
    unshown_file = 7,
    text = 8,
    writable = 9,
    writable_view_file = 10,
    own_file = 11,
};

[[nodiscard]] inline std::uint64_t number(NodeKind kind) {
    return static_cast<std::uint64_t>(kind);
}

/// How long an answer holds that was found at `checked_at`.
[[nodiscard]] inline Lifetime remaining(TimePoint checked_at, TimePoint now) {
    return std::max(Lifetime{0}, Lifetime{freshness} - Lifetime{now - checked_at});
}

/// The errno for `error`, after a line in the log if it is not an everyday one.
Errno answer(const Error& error);
/// The same, of what the source itself answers for one of its own entries.
Errno answer_of_source(const Error& error);

}  // namespace ckptfs
