// Symbolic links. Followed in the mount, one must lead to what the mount shows of its target: never to a tag's own
// files, which the kernel would reach by itself along an absolute path, or along one that leaves the mount.
#include <cerrno>
#include <utility>

#include "fs/mirrored_directory.h"
#include "fs/passed_through.h"
#include "fs/source_tree.h"
#include "util/path.h"

namespace ckptfs {
namespace {

std::string parent_of(const std::string& absolute) {
    const auto slash = absolute.rfind('/');
    return slash == 0 ? "/" : absolute.substr(0, slash);
}

}  // namespace

Outcome<LookedUpEntry> MirroredDirectory::link_entry(std::uint64_t inode, std::string_view name, const FileInfo& info) {
    const auto path = source_->child(name);
    const auto text = mount_.source().read_link(path);
    if (!text) {
        return answer(text.error());
    }
    if (stays_below(*root_, source_->path(), *text)) {
        return plain_link_entry(mount_, *this, name, info, *text);
    }
    const auto target = mount_.source().resolve(path);
    if (!target) {
        if (target.error().code() != ErrorCode::not_found) {
            mount_.report_link_once(path, target.error().message());
        }
        return plain_link_entry(mount_, *this, name, info, unreachable_link(*text));
    }
    // What is shown already is not shown again within itself.
    for (const auto* root = root_.get(); root != nullptr; root = root->outer.get()) {
        if (path_below(*target, root->path)) {
            return plain_link_entry(mount_, *this, name, info, relative_link(place(), root->place_of(*target)));
        }
    }
    const auto target_info = mount_.source().stat(*target);
    if (!target_info) {
        return answer(target_info.error());
    }
    if (target_info->type == FileType::directory && root_->depth >= max_shown_depth) {
        mount_.report_link_once(
            path, "'" + mount_.source().display(path) + "': more than " + std::to_string(max_shown_depth) +
                      " links to directories lead out of each other; make one in SOURCE that leads to '" + *target +
                      "'");
        return plain_link_entry(mount_, *this, name, info, unreachable_link(*text));
    }
    return outside_entry(inode, name, *target, *target_info);
}

Outcome<LookedUpEntry> MirroredDirectory::outside_entry(std::uint64_t inode, std::string_view name,
                                                        const std::string& target, const FileInfo& info) {
    const auto root_at = [&](const std::string& path, const std::string& lone_file) {
        return std::make_shared<const ShownRoot>(
            ShownRoot{path, join_path(place(), name), root_, root_->depth + 1, lone_file});
    };
    const auto reached = mount_.as_reached(target, info);
    if (!reached) {
        return answer(reached.error());
    }
    if (info.type == FileType::directory) {
        auto file = lookup_in_place(target, name);
        return file ? *file : mirrored_entry(mount_, target, request_, inode, *reached, root_at(target, ""));
    }
    const auto parent = parent_of(target);
    const auto file_name = target.substr(target.rfind('/') + 1);
    if (mount_.reader().shard_files({{file_name, info.type}}).empty()) {
        return passed_through_entry(mount_, *this, name, target, *reached, nullptr);
    }
    // A shard is what its tag shows of it in this view, if it shows it at all.
    MirroredDirectory tag(mount_, mount_.tree().directory(parent), request_, inode, root_at(parent, target));
    return tag.lookup(inode, file_name);
}

}  // namespace ckptfs
