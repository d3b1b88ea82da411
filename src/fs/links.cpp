// Symbolic links. Followed in the mount, one must lead to what the mount shows of its target: never to a tag's own
// files, which the kernel would reach by itself along an absolute path, or along one that leaves the mount.
#include <cerrno>
#include <utility>

#include "fs/attributes.h"
#include "fs/implementation.h"
#include "util/log.h"
#include "util/path.h"

namespace ckptfs {
namespace {

constexpr std::size_t max_reported = 1024;

std::string parent_of(const std::string& absolute) {
    const auto slash = absolute.rfind('/');
    return slash == 0 ? "/" : absolute.substr(0, slash);
}

}  // namespace

Outcome<LookedUpEntry> FileSystem::Implementation::link_entry(MirroredDirectory& directory, std::uint64_t inode,
                                                              std::string_view name, const FileInfo& info) {
    const auto path = directory.source()->child(name);
    const auto text = tree_->source().read_link(path);
    if (!text) {
        return answer(text.error());
    }
    if (stays_below(*directory.root(), directory.source()->path(), *text)) {
        return plain_link_entry(directory, name, info, *text);
    }
    const auto target = tree_->source().resolve(path);
    if (!target) {
        if (target.error().code() != ErrorCode::not_found) {
            report_link_once(path, target.error().message());
        }
        return plain_link_entry(directory, name, info, unreachable_link(*text));
    }
    // What is shown already is not shown again within itself.
    for (const auto* root = directory.root().get(); root != nullptr; root = root->outer.get()) {
        if (path_below(*target, root->path)) {
            return plain_link_entry(directory, name, info, relative_link(directory.place(), root->place_of(*target)));
        }
    }
    const auto target_info = tree_->source().stat(*target);
    if (!target_info) {
        return answer(target_info.error());
    }
    if (target_info->type == FileType::directory && directory.root()->depth >= max_shown_depth) {
        report_link_once(path, "'" + tree_->source().display(path) + "': more than " + std::to_string(max_shown_depth) +
                                   " links to directories lead out of each other; make one in SOURCE that leads to '" +
                                   *target + "'");
        return plain_link_entry(directory, name, info, unreachable_link(*text));
    }
    return outside_entry(directory, inode, name, *target, *target_info);
}

Outcome<LookedUpEntry> FileSystem::Implementation::outside_entry(MirroredDirectory& directory, std::uint64_t inode,
                                                                 std::string_view name, const std::string& target,
                                                                 const FileInfo& info) {
    const auto root_at = [&](const std::string& path, const std::string& lone_file) {
        return std::make_shared<const ShownRoot>(ShownRoot{path, join_path(directory.place(), name), directory.root(),
                                                           directory.root()->depth + 1, lone_file});
    };
    const auto reached = as_reached(target, info);
    if (!reached) {
        return answer(reached.error());
    }
    if (info.type == FileType::directory) {
        return directory_entry(target, directory.world_size(), inode, *reached, root_at(target, ""));
    }
    const auto parent = parent_of(target);
    const auto file_name = target.substr(target.rfind('/') + 1);
    if (tree_->reader().shard_files({{file_name, info.type}}).empty()) {
        return passed_through_entry(directory, name, target, *reached, nullptr);
    }
    // A shard is what its tag shows of it at this world size, if it shows it at all.
    MirroredDirectory tag(tree_->directory(parent), directory.world_size(), inode, root_at(parent, target));
    return lookup_in(tag, inode, file_name);
}

Outcome<LookedUpEntry> FileSystem::Implementation::plain_link_entry(const MirroredDirectory& directory,
                                                                    std::string_view name, FileInfo info,
                                                                    std::string text) {
    const auto identity = identity_of(directory.world_size(), join_path(directory.place(), name))
                              .add(number(Kind::link))
                              .add(info.stamp)
                              .add(text)
                              .identity();
    auto node = std::make_shared<PassedThrough>();
    node->directory = directory.source();
    node->path = directory.source()->child(name);
    info.stamp.size = text.size();
    node->info = info;
    node->link_text = std::move(text);
    LookedUpEntry entry;
    const auto inode = inodes_.remember(identity, std::shared_ptr<const PassedThrough>(std::move(node)));
    entry.attributes = passed_through_attributes(info, inode);
    entry.entry_lifetime = freshness;
    entry.attributes_lifetime = freshness;
    return entry;
}

void FileSystem::Implementation::report_link_once(const std::string& path, const std::string& reason) {
    {
        const std::lock_guard lock(reported_mutex_);
        if (reported_links_.size() >= max_reported || !reported_links_.insert(path).second) {
            return;
        }
    }
    log::warn("a symbolic link is not followed: " + reason);
}

}  // namespace ckptfs
