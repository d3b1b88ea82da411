// What is behind FileSystem: the same operations, free to throw what its boundary catches.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fs/file_system.h"
#include "fs/handle_table.h"
#include "fs/identity.h"
#include "fs/inode_table.h"
#include "fs/node.h"
#include "fs/source_tree.h"

namespace ckptfs {

class FileSystem::Implementation {
 public:
    /// Takes over `statistics_descriptor`, of `options.source_path`.
    Implementation(std::shared_ptr<SourceTree> tree, const FileSystemOptions& options, int statistics_descriptor);
    Implementation(const Implementation&) = delete;
    Implementation& operator=(const Implementation&) = delete;
    ~Implementation();

    void adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag);

    Outcome<LookedUpEntry> lookup(std::uint64_t parent, std::string_view name);
    void forget(std::uint64_t inode, std::uint64_t lookups) { inodes_.forget(inode, lookups); }
    Outcome<FileAttributes> getattr(std::uint64_t inode);
    Outcome<std::string> readlink(std::uint64_t inode);

    Outcome<OpenedFile> open(std::uint64_t inode);
    Outcome<std::size_t> read(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out);
    void release(std::uint64_t handle) { files_.erase(handle); }

    Outcome<std::uint64_t> opendir(std::uint64_t inode);
    Outcome<bool> readdir(std::uint64_t handle, std::uint64_t offset,
                          const std::function<bool(const ListedEntry&)>& take);
    void releasedir(std::uint64_t handle) { directories_.erase(handle); }

    Outcome<FileSystemStatistics> statfs() const;
    void tidy();
    [[nodiscard]] std::size_t live_inodes() const { return inodes_.size(); }

 private:
    struct OpenFile {
        std::shared_ptr<const File> file;
        std::shared_ptr<SourceDirectory> directory;  // to look again at when the file turns out to be stale
        std::atomic<bool> reported = false;
    };
    struct OpenDirectory {
        std::uint64_t inode = 0;
        std::uint64_t parent_inode = 0;
        std::shared_ptr<const std::vector<DirectoryEntry>> entries;
        std::shared_ptr<const View> view;  // whose files follow the entries; null: none
        IdentityHasher identity;           // of the view's files, up to their names
    };

    [[nodiscard]] std::optional<Node> node_of(std::uint64_t inode) const;

    Outcome<LookedUpEntry> lookup_world_size(std::string_view name);
    Outcome<LookedUpEntry> lookup_in(MirroredDirectory& directory, std::uint64_t inode, std::string_view name);
    // Whoever may write SOURCE could put a link in the place of a directory that the kernel still holds, and let others
    // look where it leads with the rights of the mount's user, past the directories on the way there. A link that stays
    // there is found; one that is exchanged between this check and the look is not.
    [[nodiscard]] bool is_still_in_place(const MirroredDirectory& directory) const;

    // With the permissions that whoever comes by the way to it has.
    [[nodiscard]] Result<FileInfo> as_granted(const std::string& path, FileInfo info) const;
    [[nodiscard]] Result<FileInfo> as_reached(const std::string& path, const FileInfo& info) const;
    // What the way to all that is shown below `root` leaves, where that is no directory of the mount.
    [[nodiscard]] Result<std::vector<Permissions>> passages_to(const ShownRoot& root) const;
    [[nodiscard]] Outcome<Attributes> attributes_of(const View& view, const VirtualFileNode& file,
                                                    std::uint64_t inode) const;

    // What a directory of the source, at `path`, is shown as below `root`.
    Outcome<LookedUpEntry> directory_entry(const std::string& path, std::uint64_t world_size, std::uint64_t parent,
                                           const FileInfo& info, std::shared_ptr<const ShownRoot> root);
    // Any other entry `name` of `directory`, whose bytes are those of `path`.
    Outcome<LookedUpEntry> passed_through_entry(const MirroredDirectory& directory, std::string_view name,
                                                const std::string& path, const FileInfo& info,
                                                std::shared_ptr<const TagFiles> broken);
    Outcome<LookedUpEntry> link_entry(MirroredDirectory& directory, std::uint64_t inode, std::string_view name,
                                      const FileInfo& info);
    // What a link leads to that lies outside of everything that is shown.
    Outcome<LookedUpEntry> outside_entry(MirroredDirectory& directory, std::uint64_t inode, std::string_view name,
                                         const std::string& target, const FileInfo& info);
    // A link that is shown as one.
    Outcome<LookedUpEntry> plain_link_entry(const MirroredDirectory& directory, std::string_view name, FileInfo info,
                                            std::string text);
    void report_link_once(const std::string& path, const std::string& reason);
    Outcome<LookedUpEntry> broken_shard_entry(const MirroredDirectory& directory,
                                              const std::shared_ptr<const TagFiles>& files, std::string_view name);
    Outcome<LookedUpEntry> virtual_entry(const MirroredDirectory& directory,
                                         const std::shared_ptr<const TagFiles>& files, std::size_t index,
                                         std::string_view name, Lifetime lifetime);

    void follow_source() const;

    Outcome<OpenedFile> open_passed_through(const PassedThrough& node);
    Outcome<OpenedFile> open_virtual(const VirtualFileNode& node);

    // The start of every identity: the path in the mount.
    [[nodiscard]] IdentityHasher identity_of(std::uint64_t world_size, std::string_view path) const;
    [[nodiscard]] IdentityHasher identity_of_files(const MirroredDirectory& directory,
                                                   const TagGeneration& generation) const;

    std::shared_ptr<SourceTree> tree_;
    std::optional<std::uint64_t> world_size_;
    std::string source_path_;
    mutable std::mutex statistics_mutex_;
    mutable int statistics_descriptor_;
    std::shared_ptr<const ShownRoot> source_root_ = std::make_shared<const ShownRoot>();
    Node root_;
    InodeTable inodes_;
    HandleTable<OpenFile> files_;
    HandleTable<OpenDirectory> directories_;

    std::mutex reported_mutex_;
    std::set<std::string> reported_links_;

    // Whose adopted tag stays in memory although the kernel knows nothing of it yet: set before anybody is served, let
    // go of by tidy() when that tag is gone or another has taken its place.
    std::shared_ptr<SourceDirectory> adopted_;
    std::weak_ptr<TagGeneration> adopted_generation_;
};

/// What an identity is of, so that a path that changes its nature changes its inode.
enum class Kind : std::uint64_t { directory = 1, passed_through = 2, broken_shard = 3, virtual_file = 4, link = 5 };

[[nodiscard]] inline std::uint64_t number(Kind kind) {
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
