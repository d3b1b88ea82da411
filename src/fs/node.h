// What an inode can stand for.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>

#include "ckptfs/source.h"
#include "fs/shown_root.h"
#include "fs/source_tree.h"

namespace ckptfs {

/// The root of a mount without a world size of its own: a directory for each.
struct WorldSizeListing {};

/// A directory of SOURCE at a world size. Lookups in it answer with what is there now, also where this inode belongs to
/// a generation that is gone: the way to it may be a process's working directory.
class MirroredDirectory {
 public:
    /// `root`: what `source` lies below.
    MirroredDirectory(std::shared_ptr<SourceDirectory> source, std::uint64_t world_size, std::uint64_t parent_inode,
                      std::shared_ptr<const ShownRoot> root)
        : source_(std::move(source)), world_size_(world_size), parent_inode_(parent_inode), root_(std::move(root)) {}

    [[nodiscard]] const std::shared_ptr<SourceDirectory>& source() const { return source_; }
    [[nodiscard]] std::uint64_t world_size() const { return world_size_; }
    [[nodiscard]] std::uint64_t parent_inode() const { return parent_inode_; }
    [[nodiscard]] const std::shared_ptr<const ShownRoot>& root() const { return root_; }
    /// Its path in the mount.
    [[nodiscard]] std::string place() const { return root_->place_of(source_->path()); }

    /// Keeps the files of the last generation asked for, so that the tag stays in memory as long as this inode.
    std::shared_ptr<const TagFiles> files(const std::shared_ptr<TagGeneration>& generation) {
        const std::lock_guard lock(mutex_);
        if (!files_ || &files_->generation() != generation.get()) {
            files_ = generation->files_at(world_size_, source_);
        }
        return files_;
    }

 private:
    std::shared_ptr<SourceDirectory> source_;
    std::uint64_t world_size_;
    std::uint64_t parent_inode_;
    std::shared_ptr<const ShownRoot> root_;

    std::mutex mutex_;
    std::shared_ptr<const TagFiles> files_;
};

/// One generation of anything of SOURCE but a directory.
struct PassedThrough {
    std::shared_ptr<SourceDirectory> directory;
    std::string path;
    FileInfo info;
    std::string link_text;                   ///< of a symbolic link: as the mount shows it
    std::shared_ptr<const TagFiles> broken;  ///< of the tag that it is a shard of, if that cannot be shown
};

struct VirtualFileNode {
    std::shared_ptr<const TagFiles> files;
    std::size_t index = 0;
    std::shared_ptr<const ShownRoot> root;
};

using Node = std::variant<WorldSizeListing, std::shared_ptr<MirroredDirectory>, std::shared_ptr<const PassedThrough>,
                          VirtualFileNode>;

}  // namespace ckptfs
