// Looking up, listing and making entries of SOURCE.
#include "fs/writable_directory.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "fs/attributes.h"
#include "fs/own_caller.h"
#include "fs/source_tree.h"
#include "fs/writable_file.h"
#include "fs/writable_view_file.h"
#include "util/path.h"

namespace ckptfs {

WritableDirectory::WritableDirectory(WritableMount& mount, const EntryPlace& place, const FileInfo& info)
    : WritableNode(mount, place, info), is_root_(false) {}

WritableDirectory::WritableDirectory(WritableMount& mount) : WritableNode(mount), is_root_(true) {}

Outcome<WritableNode::Found> WritableDirectory::locate() {
    if (!is_root_) {
        return WritableNode::locate();
    }
    const auto info = mount().source().stat("");
    return info ? Outcome(Found{{}, *info}) : answer_of_source(info.error());
}

bool WritableDirectory::is_restricted() const {
    return is_root_ && !mount().is_in_place() && mount().tree().tree().allows_others();
}

Outcome<FileAttributes> WritableDirectory::attributes(std::uint64_t inode) {
    if (!is_restricted()) {
        return WritableNode::attributes(inode);
    }
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    const auto reached = mount().tree().as_reached("", found.value.info);
    return reached ? Outcome(FileAttributes{writable_attributes(*reached, inode), freshness}) : answer(reached.error());
}

Outcome<std::vector<std::byte>> WritableDirectory::attribute(const std::string& name, const Caller& caller) {
    // The mode has in it what the list says, and counts only where there is none.
    return is_restricted() && name == "system.posix_acl_access" ? Errno{ENODATA}
                                                                : WritableNode::attribute(name, caller);
}

std::shared_ptr<WritableTag> WritableDirectory::kept_tag(const std::string& path) {
    auto tag = mount().tags().at(key(), path);
    std::shared_ptr<WritableTag> last = tag;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    tag_.swap(last);
    return tag;
}

std::shared_ptr<WritableTag> WritableDirectory::tag_for(const std::string& path, std::string_view name) {
    return mount().is_shard(name) ? kept_tag(path) : nullptr;
}

EntryPlace WritableDirectory::place_in(const std::string& path, std::uint64_t inode, std::string_view name) {
    return {shared_from_this(), inode, path, std::string(name), join_path(path, name)};
}

Outcome<std::string> WritableDirectory::path_for_lookup(bool for_shards) {
    auto last = path();
    const auto tag = for_shards && last.ok() ? mount().tags().find(key()) : nullptr;
    if (!for_shards || !last.ok() || (tag && tag->path() == last.value)) {
        return last;
    }
    const auto found = locate();  // one of the two is out of date, or nobody has asked yet
    return found.ok() ? Outcome(found.value.place.path) : found.failure();
}

Outcome<LookedUpEntry> WritableDirectory::lookup(std::uint64_t inode, std::string_view name) {
    const bool is_shard = mount().is_shard(name);
    const auto known = path_for_lookup(is_shard);
    if (!known.ok() || !mount().tree().is_still_in_place(known.value)) {
        return Errno{known.ok() ? ESTALE : known.error};
    }
    const std::string& path = known.value;
    Lifetime lifetime = freshness;
    if (const auto tag = is_shard ? kept_tag(path) : nullptr) {
        const auto looked = tag->look();
        if (!looked.ok()) {
            return looked.failure();
        }
        const ShownTag& shown = looked.value;
        lifetime = shown.lifetime;
        switch (shown.kind_of(name)) {
            case ShownTag::Name::shown:
                return writable_view_entry(mount(), tag, shown, *shown.content->view->find(name));
            case ShownTag::Name::hidden:
            case ShownTag::Name::removed:
                return Errno{ENOENT};
            case ShownTag::Name::plain:
                break;
        }
    }
    auto entry = mount().entry(place_in(path, inode, name));
    entry.value.entry_lifetime = std::min(entry.value.entry_lifetime, lifetime);
    return entry;
}

Outcome<Listing> WritableDirectory::list() {
    const auto found = locate();
    if (!found.ok() || !mount().tree().is_still_in_place(found.value.place.path)) {
        return Errno{found.ok() ? ESTALE : found.error};
    }
    const std::string& path = found.value.place.path;
    auto listed = mount().source().list(path);
    if (!listed) {
        return answer_of_source(listed.error());
    }
    Listing listing;
    auto entries = std::make_shared<std::vector<DirectoryEntry>>(std::move(listed).value());
    if (!mount().tree().reader().shard_files(*entries).empty()) {
        const auto looked = kept_tag(path)->look();
        if (!looked.ok()) {
            return looked.failure();
        }
        const ShownTag& shown = looked.value;
        std::erase_if(*entries,
                      [&](const DirectoryEntry& entry) { return shown.kind_of(entry.name) != ShownTag::Name::plain; });
        if (shown.files && !shown.removed) {
            listing.view = shown.content->view;
            listing.view_identity = identity_of_shown(mount(), shown);
        } else if (shown.files) {
            const View& view = *shown.content->view;
            for (std::size_t i = 0; i < view.file_count(); ++i) {
                if (auto name = view.file_name(i); !shown.removed->contains(name)) {
                    entries->push_back({std::move(name), FileType::regular});
                }
            }
        }
    }
    listing.entries = std::move(entries);
    listing.parent_inode = found.value.place.directory_inode;
    return listing;
}

Outcome<CreatedBytes> WritableDirectory::create(std::uint64_t inode, std::string_view name, int flags,
                                                std::uint32_t mode, const Caller& caller) {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    const EntryPlace place = place_in(found.value.place.path, inode, name);
    const auto tag = tag_for(place.directory_path, name);
    if (tag) {
        const auto kind = tag->kind_of(name);
        if (!kind.ok()) {
            return kind.failure();
        }
        if ((flags & O_EXCL) != 0 && is_taken(kind.value)) {
            return Errno{EEXIST};
        }
        if (kind.value == ShownTag::Name::shown && (flags & (O_TRUNC | O_APPEND)) == 0 &&
            (flags & O_ACCMODE) != O_WRONLY) {
            return Errno{ESTALE};  // the kernel looks it up, and opens it
        }
        if (const auto ended = tag->end_removal(caller); !ended.ok()) {
            return ended.failure();
        }
    }
    const auto inodes_before = mount().tree().inodes().numbers_given();
    auto opened = mount().writer().open(place.path, flags | O_CREAT, mode, caller);
    if (!opened.ok()) {
        // A symbolic link that has come to be there is the kernel's to follow.
        return Errno{opened.error == ELOOP && (flags & O_EXCL) == 0 ? ESTALE : opened.error};
    }
    const auto info = opened.value->info();
    if (!info.ok()) {
        return info.failure();
    }
    if ((flags & O_EXCL) != 0) {
        mount().retire_former(info.value, inodes_before);
    }
    CreatedBytes created;
    created.entry = mount().entry(place, info.value);
    const auto node =
        std::dynamic_pointer_cast<WritableFile>(mount().tree().inodes().find(created.entry.attributes.inode));
    if (!node) {
        mount().tree().inodes().forget(created.entry.attributes.inode, 1);  // the kernel is not told of it
        return Errno{ESTALE};
    }
    created.bytes = node->opened(std::move(opened.value), info.value, writes(flags) ? tag : nullptr);
    if (tag) {
        tag->note_change();
    }
    return created;
}

template <class Make>
Outcome<LookedUpEntry> WritableDirectory::make(std::uint64_t inode, std::string_view name, const Caller& caller,
                                               bool is_new, Make make) {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    const EntryPlace place = place_in(found.value.place.path, inode, name);
    const auto tag = tag_for(place.directory_path, name);
    if (tag) {
        const auto kind = tag->kind_of(name);
        if (!kind.ok() || is_taken(kind.value)) {
            return Errno{kind.ok() ? EEXIST : kind.error};
        }
        if (const auto ended = tag->end_removal(caller); !ended.ok()) {
            return ended.failure();
        }
    }
    const auto inodes_before = is_new ? std::optional(mount().tree().inodes().numbers_given()) : std::nullopt;
    if (const auto made = make(place.path); !made.ok()) {
        return made.failure();
    }
    if (tag) {
        tag->note_change();
    }
    return mount().made_entry(place, inodes_before);
}

Outcome<LookedUpEntry> WritableDirectory::make_directory(std::uint64_t inode, std::string_view name, std::uint32_t mode,
                                                         const Caller& caller) {
    return make(inode, name, caller, true,
                [&](const std::string& path) { return mount().writer().make_directory(path, mode, caller); });
}

Outcome<LookedUpEntry> WritableDirectory::make_node(std::uint64_t inode, std::string_view name, std::uint32_t mode,
                                                    std::uint64_t device, const Caller& caller) {
    return make(inode, name, caller, true,
                [&](const std::string& path) { return mount().writer().make_node(path, mode, device, caller); });
}

Outcome<LookedUpEntry> WritableDirectory::make_symlink(std::uint64_t inode, std::string_view name,
                                                       const std::string& target, const Caller& caller) {
    return make(inode, name, caller, true,
                [&](const std::string& path) { return mount().writer().make_symlink(path, target, caller); });
}

Outcome<LookedUpEntry> WritableDirectory::make_link(std::uint64_t inode, std::string_view name, Node& existing,
                                                    const Caller& caller) {
    if (dynamic_cast<WritableViewFile*>(&existing) != nullptr) {
        return Errno{EPERM};
    }
    auto* const node = dynamic_cast<WritableNode*>(&existing);
    if (node == nullptr) {
        return Errno{EXDEV};  // shown here, but outside SOURCE
    }
    const auto from = node->locate();
    if (!from.ok()) {
        return from.failure();
    }
    return make(inode, name, caller, false, [&](const std::string& path) {
        return mount().writer().make_link(path, from.value.place.path, caller);
    });
}

Outcome<Done> WritableDirectory::remove_file(std::string_view name, const Caller& caller) {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    const std::string& directory = found.value.place.path;
    const std::string path = join_path(directory, name);
    const auto leaving = mount().leaving(path);
    const auto tag = tag_for(directory, name);
    auto removed = tag ? tag->remove(std::string(name), caller) : mount().writer().remove_file(path, caller);
    if (removed.ok() && leaving && (!tag || !mount().source().stat(path))) {
        mount().retire(leaving);
    }
    return removed;
}

Outcome<Done> WritableDirectory::remove_directory(std::string_view name, const Caller& caller) {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    const std::string& directory = found.value.place.path;
    const std::string path = join_path(directory, name);
    const auto info = mount().source().stat(path);
    const auto leaving = info ? mount().known(*info) : nullptr;
    if (auto emptied = empty(path, caller); !emptied.ok()) {
        return emptied;
    }
    auto removed = mount().writer().remove_directory(path, caller);
    if (removed.ok()) {
        if (info) {
            mount().tags().forget({info->stamp.device, info->stamp.inode});
            mount().retire(leaving);
        }
        if (const auto tag = tag_for(directory, name)) {
            tag->note_change();
        }
    }
    return removed;
}

Outcome<Done> WritableDirectory::empty(const std::string& path, const Caller& caller) {
    const auto info = mount().source().stat(path);
    if (!info) {
        return Done{};  // what comes next says why
    }
    const WritableTags::Key key{info->stamp.device, info->stamp.inode};
    return mount().tags().find(key) ? mount().tags().at(key, path)->remove_hidden(caller) : Outcome<Done>(Done{});
}

Outcome<Done> WritableDirectory::sync_directory(bool data_only) {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    const auto opened = mount().writer().open(found.value.place.path, O_RDONLY | O_DIRECTORY, 0, OwnCaller());
    return opened.ok() ? opened.value->sync(data_only) : opened.failure();
}

}  // namespace ckptfs
