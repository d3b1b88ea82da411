// Names in a directory of SOURCE.
#include "fs/mirrored_directory.h"

#include <cerrno>
#include <utility>

#include "fs/attributes.h"
#include "fs/passed_through.h"
#include "fs/source_tree.h"
#include "util/path.h"

namespace ckptfs {

MirroredDirectory::MirroredDirectory(MountTree& mount, std::shared_ptr<SourceDirectory> source,
                                     const ViewRequest& request, std::uint64_t parent_inode,
                                     std::shared_ptr<const ShownRoot> root)
    : mount_(mount),
      source_(std::move(source)),
      request_(request),
      placement_(mount.reader().placement(request)),
      parent_inode_(parent_inode),
      root_(std::move(root)) {}

std::shared_ptr<const TagFiles> MirroredDirectory::kept(const std::shared_ptr<TagGeneration>& generation,
                                                        const std::shared_ptr<SourceDirectory>& directory) {
    const std::lock_guard lock(mutex_);
    if (!files_ || &files_->generation() != generation.get()) {
        files_ = generation->files_for(request_, directory);
    }
    return files_;
}

std::shared_ptr<const TagFiles> MirroredDirectory::files_of(const std::shared_ptr<TagGeneration>& generation) {
    return kept(generation, source_);
}

std::shared_ptr<const TagFiles> MirroredDirectory::files_of(const CurrentTag& current) {
    return kept(current.generation, current.directory);
}

StandingView MirroredDirectory::standing(std::shared_ptr<const TagFiles> files) const {
    return {.files = std::move(files), .root = root_, .place = place()};
}

Outcome<FileAttributes> MirroredDirectory::attributes(std::uint64_t inode) {
    const auto& path = source_->path();
    const auto info = mount_.source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (info->type != FileType::directory) {
        return Errno{ESTALE};
    }
    const auto shown = path == root_->path ? mount_.as_reached(path, *info) : mount_.as_granted(path, *info);
    if (!shown) {
        return answer(shown.error());
    }
    return FileAttributes{passed_through_attributes(*shown, inode), freshness};
}

Outcome<LookedUpEntry> MirroredDirectory::lookup(std::uint64_t inode, std::string_view name) {
    if (!mount_.is_still_in_place(source_->path())) {
        return Errno{ESTALE};
    }
    const auto snapshot = source_->current();
    if (!snapshot) {
        return answer_of_source(snapshot.error());
    }
    if (is_one_file()) {
        return name == mount_.source_name() ? lookup_in_place(source_->path(), name).value_or(Errno{ENOENT})
                                            : Errno{ENOENT};
    }
    Found found;
    if ((*snapshot)->generation) {
        found = placement_.in_tag ? lookup_in_tag(*snapshot, inode, name) : std::nullopt;
    } else {
        found = lookup_held(*snapshot, inode, name);
        if (!found) {
            found = lookup_beside(**snapshot, inode, name);
        }
    }
    if (found) {
        return *found;
    }
    // Only what has been listed is shown: the listing is what tells shards from other files.
    const auto* listed = (*snapshot)->find(name);
    return listed == nullptr ? Errno{ENOENT} : passed_through(inode, name, *listed);
}

Outcome<LookedUpEntry> MirroredDirectory::passed_through(std::uint64_t inode, std::string_view name,
                                                         const DirectoryEntry& listed) {
    const auto path = source_->child(name);
    if (root_->outer && listed.type == FileType::directory) {
        // Outside SOURCE there may be mount points, this mount's own among them.
        const auto real = mount_.source().resolve(path);
        if (!real && real.error().code() == ErrorCode::unsupported) {
            mount_.report_link_once(path, real.error().message());
            return Errno{ELOOP};
        }
    }
    const auto info = mount_.source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (info->type == FileType::symlink) {
        return link_entry(inode, name, *info);
    }
    const auto granted = mount_.as_granted(path, *info);
    if (!granted) {
        return answer(granted.error());
    }
    if (info->type == FileType::directory) {
        auto file = lookup_in_place(path, name);
        return file ? *file : mirrored_entry(mount_, path, request_, inode, *granted, root_);
    }
    return passed_through_entry(mount_, *this, name, path, *granted, nullptr);
}

MirroredDirectory::Found MirroredDirectory::lookup_in_tag(const std::shared_ptr<const Snapshot>& snapshot,
                                                          std::uint64_t inode, std::string_view name) {
    const auto files = files_of(snapshot->generation);
    const auto content = files->content();
    if (content->view) {
        const auto lifetime = remaining(snapshot->checked_at, mount_.tree().now());
        if (auto found = view_entry(mount_, standing(files), name, lifetime, inode)) {
            return found;
        }
        return content->shards.contains(name) ? Found(Errno{ENOENT}) : std::nullopt;
    }
    const auto unshown = mount_.reader().names_of_unshown(request_);
    if (unshown.empty() && TagFiles::lacks_memory(*content) &&
        (content->shards.contains(name) || snapshot->find(name) == nullptr)) {
        return files->refuse();
    }
    const bool stands_for_file = std::find(unshown.begin(), unshown.end(), name) != unshown.end();
    if (!stands_for_file && !content->shards.contains(name)) {
        return std::nullopt;
    }
    if (!unshown.empty() && !stands_for_file) {
        return Errno{ENOENT};
    }
    const auto path = stands_for_file ? source_->path() : source_->child(name);
    const auto info = mount_.source().stat_target(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (stands_for_file) {
        return unshown_entry(mount_, request_, join_path(place(), name), *info, files->generation().signature(),
                             ckptfs::unshown(files));
    }
    return passed_through_entry(mount_, *this, name, path, *info, files);
}

Outcome<Listing> MirroredDirectory::list() {
    if (!mount_.is_still_in_place(source_->path())) {
        return Errno{ESTALE};
    }
    const auto snapshot = source_->current();
    if (!snapshot) {
        return answer_of_source(snapshot.error());
    }
    Listing listing;
    listing.parent_inode = parent_inode_;
    listing.directories_may_be_files = !placement_.in_place_of_holder_of.empty();
    if (is_one_file()) {
        listing.entries = std::make_shared<const std::vector<DirectoryEntry>>(
            std::vector<DirectoryEntry>{{mount_.source_name(), FileType::regular}});
    } else if ((*snapshot)->generation && placement_.in_tag) {
        return list_tag(*snapshot);
    } else if (!(*snapshot)->generation && (placement_.in_holder || !placement_.beside_suffix.empty())) {
        auto entries = std::make_shared<std::vector<DirectoryEntry>>((*snapshot)->entries);
        list_held(*snapshot, *entries, listing);
        list_beside(**snapshot, *entries);
        listing.entries = std::move(entries);
    } else {
        listing.entries = {*snapshot, &(*snapshot)->entries};
    }
    return listing;
}

Outcome<Listing> MirroredDirectory::list_tag(const std::shared_ptr<const Snapshot>& snapshot) {
    Listing listing;
    listing.parent_inode = parent_inode_;
    const auto files = files_of(snapshot->generation);
    const auto content = files->content();
    const View* view = content->view.get();
    const auto unshown = view == nullptr ? mount_.reader().names_of_unshown(request_) : std::vector<std::string>();
    if (view == nullptr && unshown.empty() && TagFiles::lacks_memory(*content)) {
        return files->refuse();  // which files the view has is not known: SOURCE's would be taken for them
    }
    const auto is_of_view = [&](const std::string& name) {
        if (view == nullptr) {
            return std::find(unshown.begin(), unshown.end(), name) != unshown.end();
        }
        return view->find(name) || (view->directories() != nullptr && view->directories()->find(name) != nullptr);
    };
    auto entries = std::make_shared<std::vector<DirectoryEntry>>();
    for (const DirectoryEntry& entry : snapshot->entries) {
        const bool shard = content->shards.contains(entry.name);
        if (shard && view == nullptr && unshown.empty()) {
            // Always a regular file: behind a symbolic link its bytes could be reached.
            entries->push_back({entry.name, FileType::regular});
        } else if (!shard && !is_of_view(entry.name)) {
            entries->push_back(entry);
        }
    }
    for (const std::string& name : unshown) {
        entries->push_back({name, FileType::regular});
    }
    list_view(mount_, standing(files), "", *entries, listing);
    listing.entries = std::move(entries);
    return listing;
}

Outcome<LookedUpEntry> mirrored_entry(MountTree& mount, const std::string& path, const ViewRequest& request,
                                      std::uint64_t parent, const FileInfo& info,
                                      std::shared_ptr<const ShownRoot> root) {
    auto source = mount.tree().directory(path);
    const auto snapshot = source->current();
    if (!snapshot && snapshot.error().code() == ErrorCode::not_found) {
        return Errno{ENOENT};
    }
    // A directory that cannot be listed can still be seen, as in the source.
    const auto generation = snapshot ? (*snapshot)->generation : nullptr;
    auto hasher = mount.identity_of(request, root->place_of(path)).add(number(NodeKind::directory));
    if (generation) {
        hasher.add(generation->signature());
    } else {
        hasher.add(info.stamp.device).add(info.stamp.inode_may_change ? 0 : info.stamp.inode);
    }
    LookedUpEntry entry;
    const auto inode = mount.inodes().remember(
        hasher.identity(),
        std::make_shared<MirroredDirectory>(mount, std::move(source), request, parent, std::move(root)));
    entry.attributes = passed_through_attributes(info, inode);
    entry.entry_lifetime = snapshot ? remaining((*snapshot)->checked_at, mount.tree().now()) : Lifetime{freshness};
    entry.attributes_lifetime = freshness;
    return entry;
}

}  // namespace ckptfs
