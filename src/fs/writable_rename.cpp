// Renaming within SOURCE, and what the inodes that the kernel has are called afterwards.
#include <cerrno>
#include <cstdio>
#include <utility>

#include "fs/writable_directory.h"
#include "fs/writable_view_file.h"

namespace ckptfs {

Outcome<Done> WritableDirectory::may_leave(WritableTag* tag, std::string_view name) {
    const auto kind = tag == nullptr ? Outcome(ShownTag::Name::plain) : tag->kind_of(name);
    if (!kind.ok()) {
        return kind.failure();
    }
    switch (kind.value) {
        case ShownTag::Name::shown:
            return Errno{EROFS};
        case ShownTag::Name::hidden:
        case ShownTag::Name::removed:
            return Errno{ENOENT};
        case ShownTag::Name::plain:
            break;
    }
    return Done{};
}

Outcome<Done> WritableDirectory::may_be_replaced(WritableTag* tag, std::string_view name, unsigned flags) {
    if ((flags & RENAME_EXCHANGE) != 0) {
        return may_leave(tag, name);
    }
    if (tag == nullptr) {
        return Done{};
    }
    const auto kind = tag->kind_of(name);
    if (!kind.ok() || ((flags & RENAME_NOREPLACE) != 0 && is_taken(kind.value))) {
        return Errno{kind.ok() ? EEXIST : kind.error};
    }
    return Done{};
}

Outcome<Done> WritableDirectory::rename(std::uint64_t inode, std::string_view name, Node& target,
                                        std::uint64_t target_inode, std::string_view new_name, unsigned flags,
                                        const Caller& caller) {
    auto* const directory = dynamic_cast<WritableDirectory*>(&target);
    if (directory == nullptr) {
        return Errno{EROFS};  // shown here, but outside SOURCE
    }
    const auto from_directory = locate();
    const auto to_directory = directory->locate();
    if (!from_directory.ok() || !to_directory.ok()) {
        return Errno{from_directory.ok() ? to_directory.error : from_directory.error};
    }
    const EntryPlace from = place_in(from_directory.value.place.path, inode, name);
    const EntryPlace to = directory->place_in(to_directory.value.place.path, target_inode, new_name);
    const auto from_tag = tag_for(from.directory_path, name);
    const auto to_tag = directory->tag_for(to.directory_path, new_name);
    if (auto allowed = may_leave(from_tag.get(), name); !allowed.ok()) {
        return allowed;
    }
    if (auto allowed = may_be_replaced(to_tag.get(), new_name, flags); !allowed.ok()) {
        return allowed;
    }
    for (const auto& tag : {to_tag, from_tag}) {
        if (auto ended = tag ? tag->end_removal(caller) : Outcome<Done>(Done{}); !ended.ok()) {
            return ended;
        }
    }
    const bool replaces = (flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)) == 0;
    const auto replaced = replaces ? mount().leaving(to.path) : nullptr;
    auto renamed = mount().writer().rename(from.path, to.path, flags, caller);
    if (replaces && (renamed.error == ENOTEMPTY || renamed.error == EEXIST) && empty(to.path, caller).ok()) {
        renamed = mount().writer().rename(from.path, to.path, flags, caller);
    }
    if (!renamed.ok()) {
        return renamed;
    }
    const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
    const auto [now, is_directory] = note_renamed(to);
    if (replaced && replaced != now) {
        mount().tags().forget(replaced->key());
        mount().retire(replaced);
    }
    const bool other_is_directory = exchanges && note_renamed(from).second;
    if (is_directory || other_is_directory) {
        mount().source().note_rename(from.path, to.path, exchanges);
    }
    for (const auto& tag : {from_tag, to_tag}) {
        if (tag) {
            tag->note_change();
        }
    }
    return Done{};
}

std::pair<std::shared_ptr<WritableNode>, bool> WritableDirectory::note_renamed(const EntryPlace& place) {
    const auto info = mount().source().stat(place.path);
    auto node = info ? mount().known(*info) : nullptr;
    if (node) {
        node->found_at(place);
    }
    return {std::move(node), info && info->type == FileType::directory};
}

}  // namespace ckptfs
