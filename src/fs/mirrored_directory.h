// A directory of SOURCE in a view.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/current_tag.h"
#include "fs/mount_tree.h"
#include "fs/standing_view.h"

namespace ckptfs {

/// Lookups in it answer with what is there now, also where this inode belongs to a generation that is gone: the way to
/// it may be a process's working directory.
class MirroredDirectory final : public Node {
 public:
    /// `root`: what `source` lies below.
    MirroredDirectory(MountTree& mount, std::shared_ptr<SourceDirectory> source, const ViewRequest& request,
                      std::uint64_t parent_inode, std::shared_ptr<const ShownRoot> root);

    [[nodiscard]] const std::shared_ptr<SourceDirectory>& source() const { return source_; }
    [[nodiscard]] const ViewRequest& request() const { return request_; }
    [[nodiscard]] const std::shared_ptr<const ShownRoot>& root() const { return root_; }
    /// Its path in the mount.
    [[nodiscard]] std::string place() const { return root_->place_of(source_->path()); }

    Outcome<FileAttributes> attributes(std::uint64_t inode) override;
    Outcome<LookedUpEntry> lookup(std::uint64_t inode, std::string_view name) override;
    Outcome<Listing> list() override;

    /// For the symbolic link `name`; `inode` is this directory's.
    Outcome<LookedUpEntry> link_entry(std::uint64_t inode, std::string_view name, const FileInfo& info);

 private:
    using Snapshot = SourceDirectory::Snapshot;
    /// nullopt: this has nothing to say of the name.
    using Found = std::optional<Outcome<LookedUpEntry>>;

    // What the view puts in the place of what SOURCE has, or beside it. For names in a tag:
    Found lookup_in_tag(const std::shared_ptr<const Snapshot>& snapshot, std::uint64_t inode, std::string_view name);
    // For names beside tags: files of the current one …
    Found lookup_held(const std::shared_ptr<const Snapshot>& snapshot, std::uint64_t inode, std::string_view name);
    // … directories named after them, and the file that names one of those. SOURCE's own directory of such a name
    // passes through where the view cannot be made.
    Found lookup_beside(const Snapshot& snapshot, std::uint64_t inode, std::string_view name);
    Outcome<LookedUpEntry> pointer_entry(const Snapshot& snapshot, std::string_view name);
    // For the directory of SOURCE at `path`, named `name` in this one, where a file takes its place.
    Found lookup_in_place(const std::string& path, std::string_view name);

    Outcome<LookedUpEntry> passed_through(std::uint64_t inode, std::string_view name, const DirectoryEntry& listed);
    // What a link leads to that lies outside of everything that is shown.
    Outcome<LookedUpEntry> outside_entry(std::uint64_t inode, std::string_view name, const std::string& target,
                                         const FileInfo& info);
    Outcome<LookedUpEntry> unshown_beside(std::string_view name, const std::shared_ptr<const CurrentTag>& current,
                                          const std::shared_ptr<const TagFiles>& files);

    Outcome<Listing> list_tag(const std::shared_ptr<const Snapshot>& snapshot);
    void list_held(const std::shared_ptr<const Snapshot>& snapshot, std::vector<DirectoryEntry>& entries,
                   Listing& listing);
    void list_beside(const Snapshot& snapshot, std::vector<DirectoryEntry>& entries) const;

    /// Of the entry `name`, which may be a link to a tag; nullptr where it is none.
    [[nodiscard]] std::shared_ptr<const TagFiles> files_of_tag(std::string_view name) const;
    /// The tag whose file takes the place of the directory at `path`; nullptr: none does.
    [[nodiscard]] std::shared_ptr<const TagFiles> in_place_of(const std::string& path) const;
    /// Whether this is the whole of SOURCE, with a file in its place.
    [[nodiscard]] bool is_one_file() const;
    /// Of what SOURCE has, whether the view's files in this directory hide it.
    [[nodiscard]] bool is_hidden(const DirectoryEntry& entry) const;
    [[nodiscard]] StandingView standing(std::shared_ptr<const TagFiles> files) const;
    // These keep the files of the last generation asked for, so that the tag stays in memory as long as this inode.
    std::shared_ptr<const TagFiles> files_of(const std::shared_ptr<TagGeneration>& generation);
    std::shared_ptr<const TagFiles> files_of(const CurrentTag& current);
    std::shared_ptr<const TagFiles> kept(const std::shared_ptr<TagGeneration>& generation,
                                         const std::shared_ptr<SourceDirectory>& directory);

    MountTree& mount_;
    std::shared_ptr<SourceDirectory> source_;
    ViewRequest request_;
    Placement placement_;
    std::uint64_t parent_inode_;
    std::shared_ptr<const ShownRoot> root_;

    std::mutex mutex_;
    std::shared_ptr<const TagFiles> files_;
};

/// What a directory of the source, at `path`, is shown as below `root`.
Outcome<LookedUpEntry> mirrored_entry(MountTree& mount, const std::string& path, const ViewRequest& request,
                                      std::uint64_t parent, const FileInfo& info,
                                      std::shared_ptr<const ShownRoot> root);

}  // namespace ckptfs
