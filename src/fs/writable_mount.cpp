// What SOURCE has becomes a node: one for each file, whatever its name is, as long as it is the same file.
#include "fs/writable_mount.h"

#include <utility>

#include "fs/attributes.h"
#include "fs/mirrored_directory.h"
#include "fs/writable_directory.h"
#include "fs/writable_file.h"

namespace ckptfs {
namespace {

Identity identity_of(const FileInfo& info) {
    return writable_identity(info.type, {info.stamp.device, info.stamp.inode});
}

}  // namespace

Identity writable_identity(FileType type, const WritableTags::Key& key) {
    return IdentityHasher()
        .add(number(NodeKind::writable))
        .add(static_cast<std::uint64_t>(type))
        .add(key.first)
        .add(key.second)
        .identity();
}

WritableMount::WritableMount(MountTree& tree, const ViewRequest& request, std::shared_ptr<const SourceWriter> writer,
                             bool in_place)
    : tree_(tree),
      request_(request),
      writer_(writer),
      in_place_(in_place),
      tags_(tree.tree().shared_from_this(), request, std::move(writer)) {}

bool WritableMount::is_shard(std::string_view name) const {
    return !tree_.reader().shard_files({{std::string(name), FileType::regular}}).empty();
}

Outcome<LookedUpEntry> WritableMount::entry(const EntryPlace& place) {
    const auto info = source().stat(place.path);
    if (!info) {
        return answer_of_source(info.error());
    }
    return info->type == FileType::symlink ? link_entry(place, *info) : Outcome(entry(place, *info));
}

LookedUpEntry WritableMount::entry(const EntryPlace& place, const FileInfo& info) {
    return info.type == FileType::directory ? remember<WritableDirectory>(place, info)
                                            : remember<WritableFile>(place, info);
}

Outcome<LookedUpEntry> WritableMount::made_entry(const EntryPlace& place, std::optional<std::uint64_t> inodes_before) {
    const auto info = source().stat(place.path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (inodes_before) {
        retire_former(*info, *inodes_before);
    }
    if (info->type != FileType::symlink) {
        return entry(place, *info);
    }
    auto made = remember<WritableLink>(place, *info);
    if (!is_shown_as_link(place).value) {
        made.entry_lifetime = Lifetime{0};  // the kernel takes nothing else for what it has asked for
    }
    return made;
}

Outcome<bool> WritableMount::is_shown_as_link(const EntryPlace& place) const {
    if (in_place_) {
        return true;
    }
    const auto text = source().read_link(place.path);
    return text ? Outcome(stays_below(*tree_.source_root(), place.directory_path, *text))
                : answer_of_source(text.error());
}

Outcome<LookedUpEntry> WritableMount::link_entry(const EntryPlace& place, const FileInfo& info) {
    const auto is_shown = is_shown_as_link(place);
    if (!is_shown.ok()) {
        return is_shown.failure();
    }
    if (is_shown.value) {
        return remember<WritableLink>(place, info);
    }
    MirroredDirectory mirrored(tree_, tree_.tree().directory(place.directory_path), request_, place.directory_inode,
                               tree_.source_root());
    return mirrored.link_entry(place.directory_inode, place.name, info);
}

template <class Node>
LookedUpEntry WritableMount::remember(const EntryPlace& place, const FileInfo& info) {
    const auto inode = tree_.inodes().remember(identity_of(info), std::make_shared<Node>(*this, place, info));
    if (const auto node = std::dynamic_pointer_cast<WritableNode>(tree_.inodes().find(inode))) {
        node->found_at(place);  // it may have been there before, under another name
    }
    LookedUpEntry entry;
    entry.attributes = writable_attributes(info, inode);
    entry.entry_lifetime = freshness;
    entry.attributes_lifetime = freshness;
    return entry;
}

std::shared_ptr<WritableNode> WritableMount::known(const FileInfo& info) {
    return std::dynamic_pointer_cast<WritableNode>(tree_.inodes().find(identity_of(info)));
}

std::shared_ptr<WritableNode> WritableMount::leaving(const std::string& path) {
    const auto info = source().stat(path);
    const bool is_last = info && (info->type == FileType::directory || info->nlink <= 1);
    return is_last ? known(*info) : nullptr;
}

void WritableMount::retire(const std::shared_ptr<WritableNode>& node) {
    if (node) {
        // In this order: whoever is told that it has left finds another one when it looks again.
        tree_.inodes().retire(node->identity(), *node);
        node->leave();
    }
}

void WritableMount::retire_former(const FileInfo& made, std::uint64_t inodes_before) {
    const auto former = tree_.inodes().retire_former(identity_of(made), inodes_before);
    if (const auto node = std::dynamic_pointer_cast<WritableNode>(former)) {
        node->leave();
    }
}

}  // namespace ckptfs
