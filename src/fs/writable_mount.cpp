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
    return IdentityHasher()
        .add(number(NodeKind::writable))
        .add(static_cast<std::uint64_t>(info.type))
        .add(info.stamp.device)
        .add(info.stamp.inode)
        .identity();
}

}  // namespace

EntryPath split(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? EntryPath{"", path} : EntryPath{path.substr(0, slash), path.substr(slash + 1)};
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

std::shared_ptr<WritableTag> WritableMount::tag_of(const std::string& path) {
    const auto entry = split(path);
    return is_shard(entry.name) ? tags_.at(entry.directory) : nullptr;
}

Outcome<LookedUpEntry> WritableMount::entry(const std::string& path, std::uint64_t parent) {
    const auto info = source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    return info->type == FileType::symlink ? link_entry(path, parent, *info) : Outcome(entry(path, parent, *info));
}

LookedUpEntry WritableMount::entry(const std::string& path, std::uint64_t parent, const FileInfo& info) {
    if (info.type == FileType::directory) {
        return remember(path, parent, info, std::make_shared<WritableDirectory>(*this, path, parent, info));
    }
    return remember(path, parent, info, std::make_shared<WritableFile>(*this, path, info));
}

Outcome<LookedUpEntry> WritableMount::link_entry(const std::string& path, std::uint64_t parent, const FileInfo& info) {
    const auto [directory, name] = split(path);
    bool is_shown = in_place_;
    if (!is_shown) {
        const auto text = source().read_link(path);
        if (!text) {
            return answer_of_source(text.error());
        }
        is_shown = stays_below(*tree_.source_root(), directory, *text);
    }
    if (is_shown) {
        return remember(path, parent, info, std::make_shared<WritableLink>(*this, path, info));
    }
    MirroredDirectory mirrored(tree_, tree_.tree().directory(directory), request_, parent, tree_.source_root());
    return mirrored.link_entry(parent, name, info);
}

Outcome<LookedUpEntry> WritableMount::new_entry(const std::string& path, std::uint64_t parent) {
    const auto info = source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (info->type != FileType::symlink) {
        return entry(path, parent, *info);
    }
    auto link = remember(path, parent, *info, std::make_shared<WritableLink>(*this, path, *info));
    link.entry_lifetime = Lifetime{0};
    return link;
}

LookedUpEntry WritableMount::remember(const std::string& path, std::uint64_t parent, const FileInfo& info,
                                      std::shared_ptr<Node> node) {
    const auto inode = tree_.inodes().remember(identity_of(info), std::move(node));
    if (const auto known = tree_.inodes().find(inode)) {
        known->found_at(path, parent);
    }
    LookedUpEntry entry;
    entry.attributes = writable_attributes(info, inode);
    entry.entry_lifetime = freshness;
    entry.attributes_lifetime = freshness;
    return entry;
}

void WritableMount::note_rename(const std::string& from, const std::string& to, bool exchanged) {
    const PathMove move(from, to, exchanged);
    const auto info = source().stat(to);
    if (exchanged || !info || info->type == FileType::directory) {
        follow(move);
    } else if (const auto node = tree_.inodes().find(identity_of(*info))) {
        node->follow(move);
    }
}

void WritableMount::follow(const PathMove& move) {
    for (const auto& node : tree_.inodes().all()) {
        node->follow(move);
    }
    tags_.follow(move);
}

}  // namespace ckptfs
