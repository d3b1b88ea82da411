// Looking up, listing and making entries of SOURCE.
#include "fs/writable_directory.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "fs/attributes.h"
#include "fs/own_caller.h"
#include "fs/source_tree.h"
#include "fs/writable_file.h"
#include "fs/writable_view_file.h"
#include "util/path.h"

namespace ckptfs {
namespace {

FileInfo source_root_info() {
    FileInfo info;
    info.type = FileType::directory;
    return info;
}

}  // namespace

WritableDirectory::WritableDirectory(WritableMount& mount, std::string path, std::uint64_t parent, const FileInfo& info)
    : WritableNode(mount, std::move(path), info), is_root_(false), parent_(parent) {}

WritableDirectory::WritableDirectory(WritableMount& mount)
    : WritableNode(mount, "", source_root_info()), is_root_(true), parent_(root_inode) {}

// SOURCE is whatever directory is there.
Outcome<WritableNode::Place> WritableDirectory::locate() {
    if (!is_root_) {
        return WritableNode::locate();
    }
    const auto info = mount().source().stat("");
    return info ? Outcome(Place{"", *info}) : answer_of_source(info.error());
}

bool WritableDirectory::is_restricted() const {
    return is_root_ && !mount().is_in_place() && mount().tree().tree().allows_others();
}

Outcome<FileAttributes> WritableDirectory::attributes(std::uint64_t inode) {
    if (!is_restricted()) {
        return WritableNode::attributes(inode);
    }
    const auto place = locate();
    if (!place.ok()) {
        return Errno{place.error};
    }
    const auto reached = mount().tree().as_reached("", place.value.info);
    return reached ? Outcome(FileAttributes{writable_attributes(*reached, inode), freshness}) : answer(reached.error());
}

Outcome<std::vector<std::byte>> WritableDirectory::attribute(const std::string& name, const Caller& caller) {
    // The mode has in it what the list says, and counts only where there is none.
    return is_restricted() && name == "system.posix_acl_access" ? Errno{ENODATA}
                                                                : WritableNode::attribute(name, caller);
}

std::shared_ptr<WritableTag> WritableDirectory::kept(const std::string& path) {
    auto tag = mount().tags().at(path);
    std::shared_ptr<WritableTag> last = tag;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    tag_.swap(last);
    return tag;
}

std::shared_ptr<WritableTag> WritableDirectory::tag_for(const std::string& path, std::string_view name) {
    return mount().is_shard(name) ? kept(path) : nullptr;
}

void WritableDirectory::found_at(const std::string& path, std::uint64_t parent) {
    {
        const std::lock_guard lock(mutex_);
        parent_ = parent;
    }
    const std::string before = last_path();
    WritableNode::found_at(path, parent);
    if (before != path) {
        mount().follow({before, path, false});  // somebody else has renamed it
    }
}

Outcome<LookedUpEntry> WritableDirectory::lookup(std::uint64_t inode, std::string_view name) {
    const std::string path = last_path();
    if (!mount().tree().is_still_in_place(path)) {
        return Errno{ESTALE};
    }
    Lifetime lifetime = freshness;
    if (const auto tag = tag_for(path, name)) {
        const ShownTag shown = tag->look();
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
    auto entry = mount().entry(join_path(path, name), inode);
    entry.value.entry_lifetime = std::min(entry.value.entry_lifetime, lifetime);
    return entry;
}

Outcome<Listing> WritableDirectory::list() {
    const auto place = locate();
    if (!place.ok() || !mount().tree().is_still_in_place(place.value.path)) {
        return Errno{place.ok() ? ESTALE : place.error};
    }
    const std::string& path = place.value.path;
    auto listed = mount().source().list(path);
    if (!listed) {
        return answer_of_source(listed.error());
    }
    Listing listing;
    auto entries = std::make_shared<std::vector<DirectoryEntry>>(std::move(listed).value());
    if (!mount().tree().reader().shard_files(*entries).empty()) {
        const ShownTag shown = kept(path)->look();
        std::erase_if(*entries,
                      [&](const DirectoryEntry& entry) { return shown.kind_of(entry.name) != ShownTag::Name::plain; });
        if (shown.files && shown.removed.empty()) {
            listing.view = shown.content->view;
            listing.view_identity = identity_of_shown(mount(), shown);
        } else if (shown.files) {
            const View& view = *shown.content->view;
            for (std::size_t i = 0; i < view.file_count(); ++i) {
                if (auto name = view.file_name(i); !shown.removed.contains(name)) {
                    entries->push_back({std::move(name), FileType::regular});
                }
            }
        }
    }
    listing.entries = std::move(entries);
    const std::lock_guard lock(mutex_);
    listing.parent_inode = parent_;
    return listing;
}

Outcome<CreatedBytes> WritableDirectory::create(std::uint64_t inode, std::string_view name, int flags,
                                                std::uint32_t mode, const Caller& caller) {
    const auto place = locate();
    if (!place.ok()) {
        return Errno{place.error};
    }
    const std::string path = join_path(place.value.path, name);
    const auto tag = tag_for(place.value.path, name);
    if (tag) {
        if (tag->look().kind_of(name) == ShownTag::Name::shown) {
            if ((flags & O_EXCL) != 0) {
                return Errno{EEXIST};
            }
            if ((flags & (O_TRUNC | O_APPEND)) == 0 && (flags & O_ACCMODE) != O_WRONLY) {
                return Errno{ESTALE};  // the kernel looks it up, and opens it
            }
        }
        if (const auto ended = tag->end_removal(caller); !ended.ok()) {
            return Errno{ended.error};
        }
    }
    auto opened = mount().writer().open(path, flags | O_CREAT, mode, caller);
    if (!opened.ok()) {
        // A symbolic link that has come to be there is the kernel's to follow.
        return Errno{opened.error == ELOOP && (flags & O_EXCL) == 0 ? ESTALE : opened.error};
    }
    const auto info = opened.value->info();
    if (!info.ok()) {
        return Errno{info.error};
    }
    CreatedBytes created;
    created.entry = mount().entry(path, inode, info.value);
    const auto node =
        std::dynamic_pointer_cast<WritableFile>(mount().tree().inodes().find(created.entry.attributes.inode));
    if (!node) {
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
                                               Make make) {
    const auto place = locate();
    if (!place.ok()) {
        return Errno{place.error};
    }
    const std::string path = join_path(place.value.path, name);
    const auto tag = tag_for(place.value.path, name);
    if (tag) {
        if (tag->look().kind_of(name) == ShownTag::Name::shown) {
            return Errno{EEXIST};
        }
        if (const auto ended = tag->end_removal(caller); !ended.ok()) {
            return Errno{ended.error};
        }
    }
    if (const auto made = make(path); !made.ok()) {
        return Errno{made.error};
    }
    if (tag) {
        tag->note_change();
    }
    return mount().new_entry(path, inode);
}

Outcome<LookedUpEntry> WritableDirectory::make_directory(std::uint64_t inode, std::string_view name, std::uint32_t mode,
                                                         const Caller& caller) {
    return make(inode, name, caller,
                [&](const std::string& path) { return mount().writer().make_directory(path, mode, caller); });
}

Outcome<LookedUpEntry> WritableDirectory::make_node(std::uint64_t inode, std::string_view name, std::uint32_t mode,
                                                    std::uint64_t device, const Caller& caller) {
    return make(inode, name, caller,
                [&](const std::string& path) { return mount().writer().make_node(path, mode, device, caller); });
}

Outcome<LookedUpEntry> WritableDirectory::make_symlink(std::uint64_t inode, std::string_view name,
                                                       const std::string& target, const Caller& caller) {
    return make(inode, name, caller,
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
        return Errno{from.error};
    }
    return make(inode, name, caller,
                [&](const std::string& path) { return mount().writer().make_link(path, from.value.path, caller); });
}

Outcome<Done> WritableDirectory::remove_file(std::string_view name, const Caller& caller) {
    const auto place = locate();
    if (!place.ok()) {
        return Errno{place.error};
    }
    const auto tag = tag_for(place.value.path, name);
    return tag ? tag->remove(std::string(name), caller)
               : mount().writer().remove_file(join_path(place.value.path, name), caller);
}

Outcome<Done> WritableDirectory::remove_directory(std::string_view name, const Caller& caller) {
    const auto place = locate();
    if (!place.ok()) {
        return Errno{place.error};
    }
    const std::string path = join_path(place.value.path, name);
    if (const auto emptied = mount().tags().find(path)) {
        if (const auto removed = emptied->remove_hidden(caller); !removed.ok()) {
            return removed;
        }
    }
    auto removed = mount().writer().remove_directory(path, caller);
    if (removed.ok()) {
        mount().tags().forget(path);
        if (const auto tag = tag_for(place.value.path, name)) {
            tag->note_change();
        }
    }
    return removed;
}

Outcome<Done> WritableDirectory::sync_directory(bool data_only) {
    const auto place = locate();
    if (!place.ok()) {
        return Errno{place.error};
    }
    const auto opened = mount().writer().open(place.value.path, O_RDONLY | O_DIRECTORY, 0, OwnCaller());
    return opened.ok() ? opened.value->sync(data_only) : Errno{opened.error};
}

}  // namespace ckptfs
