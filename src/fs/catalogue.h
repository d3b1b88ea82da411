// The root of a mount that was asked for no view: a directory for each, and what stands beside those.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/view.h"
#include "fs/mount_tree.h"

namespace ckptfs {

/// A tree that never changes. Immutable.
class StaticTree {
 public:
    explicit StaticTree(std::vector<StaticEntry> entries);

    [[nodiscard]] const StaticEntry& entry(std::size_t index) const { return entries_[index]; }
    /// nullopt: it has none.
    [[nodiscard]] std::optional<ViewEntry> find(std::string_view directory, std::string_view name) const;
    /// Of the directory at `path`, which is one.
    [[nodiscard]] std::vector<DirectoryEntry> list(std::string_view path) const;

 private:
    std::vector<StaticEntry> entries_;
    ViewDirectories directories_;
};

/// Lists what the tags that were read suggest, and finds every request by its name.
class CatalogueNode final : public Node {
 public:
    CatalogueNode(MountTree& mount, std::vector<StaticEntry> entries);

    Outcome<FileAttributes> attributes(std::uint64_t inode) override;
    Outcome<LookedUpEntry> lookup(std::uint64_t inode, std::string_view name) override;
    Outcome<Listing> list() override;

 private:
    MountTree& mount_;
    std::shared_ptr<const StaticTree> static_tree_;
};

}  // namespace ckptfs
