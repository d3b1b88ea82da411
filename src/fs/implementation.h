// What is behind FileSystem: the same operations, free to throw what its boundary catches.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "fs/file_system.h"
#include "fs/handle_table.h"
#include "fs/mount_tree.h"
#include "fs/node.h"
#include "fs/source_tree.h"

namespace ckptfs {

class FileSystem::Implementation {
 public:
    Implementation(std::shared_ptr<SourceTree> tree, const FileSystemOptions& options);

    void adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag);

    Outcome<LookedUpEntry> lookup(std::uint64_t parent, std::string_view name);
    void forget(std::uint64_t inode, std::uint64_t lookups) { mount_.inodes().forget(inode, lookups); }
    Outcome<FileAttributes> getattr(std::uint64_t inode);
    Outcome<std::string> readlink(std::uint64_t inode);

    Outcome<OpenedFile> open(std::uint64_t inode);
    Outcome<std::size_t> read(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out);
    void release(std::uint64_t handle) { files_.erase(handle); }

    Outcome<std::uint64_t> opendir(std::uint64_t inode);
    Outcome<bool> readdir(std::uint64_t handle, std::uint64_t offset,
                          const std::function<bool(const ListedEntry&)>& take);
    void releasedir(std::uint64_t handle) { directories_.erase(handle); }

    Outcome<SourceStatistics> statfs() const;
    void tidy();
    [[nodiscard]] std::size_t live_inodes() { return mount_.inodes().size(); }

 private:
    struct OpenFile {
        OpenedBytes bytes;
        std::atomic<bool> reported = false;
    };
    struct OpenDirectory {
        std::uint64_t inode = 0;
        Listing listing;
    };

    // nullptr: the kernel knows more than it was told, or has forgotten it already.
    [[nodiscard]] std::shared_ptr<Node> node_of(std::uint64_t inode);

    // To the tag's generation, if it is of what lies in the directory now.
    void hand_over(const std::string& directory, const std::shared_ptr<const Tag>& tag);

    std::shared_ptr<SourceTree> tree_;
    MountTree mount_;
    bool lists_suggestions_;
    std::shared_ptr<Node> root_;
    HandleTable<OpenFile> files_;
    HandleTable<OpenDirectory> directories_;

    // Whose adopted tag stays in memory although the kernel knows nothing of it yet: set before anybody is served, let
    // go of by tidy() when that tag is gone or another has taken its place.
    std::shared_ptr<SourceDirectory> adopted_;
    std::weak_ptr<TagGeneration> adopted_generation_;
};

}  // namespace ckptfs
