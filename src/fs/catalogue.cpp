// Owner and times of everything here are those of SOURCE.
#include "fs/catalogue.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/attributes.h"
#include "fs/mirrored_directory.h"
#include "fs/text_file.h"
#include "util/path.h"

namespace ckptfs {
namespace {

Outcome<LookedUpEntry> static_entry(MountTree& mount, const std::shared_ptr<const StaticTree>& tree,
                                    const std::string& path, const ViewEntry& found, std::uint64_t parent);

// As whoever comes by the way to it has it.
Outcome<FileInfo> info_of_source(const MountTree& mount) {
    const auto info = mount.source().stat("");
    if (!info) {
        return answer_of_source(info.error());
    }
    const auto reached = mount.as_reached("", *info);
    return reached ? Outcome<FileInfo>(*reached) : answer(reached.error());
}

std::vector<std::string> paths_of(const std::vector<StaticEntry>& entries) {
    std::vector<std::string> paths;
    paths.reserve(entries.size());
    for (const StaticEntry& entry : entries) {
        paths.push_back(entry.path);
    }
    return paths;
}

class StaticLinkNode final : public Node {
 public:
    StaticLinkNode(const FileInfo& info, std::string text) : info_(info), text_(std::move(text)) {
        constexpr std::uint32_t link_mode = 0777;
        info_.type = FileType::symlink;
        info_.mode = link_mode;
        info_.nlink = 1;
        info_.stamp.size = text_.size();
    }
    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        return FileAttributes{passed_through_attributes(info_, inode), freshness};
    }
    Outcome<OpenedBytes> open() override { return Errno{ELOOP}; }
    Outcome<std::string> read_link() override { return text_; }

 private:
    FileInfo info_;
    std::string text_;
};

class StaticDirectoryNode final : public Node {
 public:
    StaticDirectoryNode(MountTree& mount, std::shared_ptr<const StaticTree> tree, std::string path,
                        std::uint64_t parent)
        : mount_(mount), tree_(std::move(tree)), path_(std::move(path)), parent_(parent) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        const auto info = info_of_source(mount_);
        return info.ok() ? Outcome(FileAttributes{passed_through_attributes(info.value, inode), freshness})
                         : info.failure();
    }
    Outcome<LookedUpEntry> lookup(std::uint64_t inode, std::string_view name) override {
        const auto found = tree_->find(path_, name);
        return found ? static_entry(mount_, tree_, join_path(path_, name), *found, inode) : Errno{ENOENT};
    }
    Outcome<Listing> list() override {
        return Listing{.parent_inode = parent_,
                       .entries = std::make_shared<const std::vector<DirectoryEntry>>(tree_->list(path_))};
    }

 private:
    MountTree& mount_;
    std::shared_ptr<const StaticTree> tree_;
    std::string path_;
    std::uint64_t parent_;
};

Outcome<LookedUpEntry> static_entry(MountTree& mount, const std::shared_ptr<const StaticTree>& tree,
                                    const std::string& path, const ViewEntry& found, std::uint64_t parent) {
    auto info = info_of_source(mount);
    if (!info.ok()) {
        return info.failure();
    }
    IdentityHasher identity;
    identity.add("static").add(path);
    std::shared_ptr<Node> node;
    if (!found.file) {
        node = std::make_shared<StaticDirectoryNode>(mount, tree, path, parent);
    } else {
        const StaticEntry& entry = tree->entry(*found.file);
        if (!entry.is_link) {
            constexpr std::uint32_t read_bits = 0444;
            info.value.mode &= read_bits;
            return text_entry(mount, identity, info.value, entry.text, freshness, [] { return true; });
        }
        node = std::make_shared<StaticLinkNode>(info.value, entry.text);
    }
    const auto attributes = node->attributes(unknown_inode);
    if (!attributes.ok()) {
        return attributes.failure();
    }
    LookedUpEntry looked_up;
    looked_up.attributes = attributes.value.attributes;
    looked_up.attributes.inode = mount.inodes().remember(identity.identity(), std::move(node));
    looked_up.entry_lifetime = freshness;
    looked_up.attributes_lifetime = freshness;
    return looked_up;
}

}  // namespace

StaticTree::StaticTree(std::vector<StaticEntry> entries)
    : entries_(std::move(entries)), directories_(paths_of(entries_)) {}

std::optional<ViewEntry> StaticTree::find(std::string_view directory, std::string_view name) const {
    const auto* entries = directories_.find(directory);
    if (entries != nullptr) {
        for (const ViewEntry& entry : *entries) {
            if (entry.name == name) {
                return entry;
            }
        }
    }
    return std::nullopt;
}

std::vector<DirectoryEntry> StaticTree::list(std::string_view path) const {
    std::vector<DirectoryEntry> listed;
    if (const auto* entries = directories_.find(path)) {
        for (const ViewEntry& entry : *entries) {
            const bool is_link = entry.file && entries_[*entry.file].is_link;
            listed.push_back({entry.name, !entry.file ? FileType::directory
                                          : is_link   ? FileType::symlink
                                                      : FileType::regular});
        }
    }
    return listed;
}

CatalogueNode::CatalogueNode(MountTree& mount, std::vector<StaticEntry> entries)
    : mount_(mount), static_tree_(std::make_shared<const StaticTree>(std::move(entries))) {}

Outcome<FileAttributes> CatalogueNode::attributes(std::uint64_t inode) {
    const auto info = info_of_source(mount_);
    return info.ok() ? Outcome(FileAttributes{passed_through_attributes(info.value, inode), freshness})
                     : info.failure();
}

Outcome<LookedUpEntry> CatalogueNode::lookup(std::uint64_t inode, std::string_view name) {
    if (const auto found = static_tree_->find("", name)) {
        return static_entry(mount_, static_tree_, std::string(name), *found, inode);
    }
    const auto request = ViewRequest::parse(name);
    if (!request) {
        return Errno{ENOENT};
    }
    const auto info = info_of_source(mount_);
    return info.ok() ? mirrored_entry(mount_, "", *request, inode, info.value, mount_.source_root()) : info.failure();
}

Outcome<Listing> CatalogueNode::list() {
    auto entries = std::make_shared<std::vector<DirectoryEntry>>(static_tree_->list(""));
    for (const std::string& name : mount_.tree().known_tags().suggestions()) {
        entries->push_back({name, FileType::directory});
    }
    return Listing{.entries = std::move(entries)};
}

}  // namespace ckptfs
