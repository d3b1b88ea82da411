// Renaming within SOURCE, and what the inodes that the kernel has are called afterwards.
#include <cerrno>
#include <cstdio>

#include "fs/writable_directory.h"
#include "fs/writable_view_file.h"
#include "util/path.h"

namespace ckptfs {

Outcome<Done> WritableDirectory::may_leave(WritableTag* tag, std::string_view name) {
    switch (tag == nullptr ? ShownTag::Name::plain : tag->look().kind_of(name)) {
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

Outcome<Done> WritableDirectory::may_be_replaced(WritableTag* tag, std::string_view name, unsigned flags,
                                                 const Caller& caller) {
    if ((flags & RENAME_EXCHANGE) != 0) {
        return may_leave(tag, name);
    }
    if (tag == nullptr) {
        return Done{};
    }
    if ((flags & RENAME_NOREPLACE) != 0 && tag->look().kind_of(name) == ShownTag::Name::shown) {
        return Errno{EEXIST};
    }
    return tag->end_removal(caller);
}

Outcome<Done> WritableDirectory::rename(std::string_view name, Node& target, std::string_view new_name, unsigned flags,
                                        const Caller& caller) {
    auto* const directory = dynamic_cast<WritableDirectory*>(&target);
    if (directory == nullptr) {
        return Errno{EROFS};  // shown here, but outside SOURCE
    }
    const auto from_place = locate();
    const auto to_place = directory->locate();
    if (!from_place.ok() || !to_place.ok()) {
        return Errno{from_place.ok() ? to_place.error : from_place.error};
    }
    const auto from_tag = tag_for(from_place.value.path, name);
    const auto to_tag = directory->tag_for(to_place.value.path, new_name);
    if (auto allowed = may_leave(from_tag.get(), name); !allowed.ok()) {
        return allowed;
    }
    if (auto allowed = may_be_replaced(to_tag.get(), new_name, flags, caller); !allowed.ok()) {
        return allowed;
    }
    const std::string from = join_path(from_place.value.path, name);
    const std::string to = join_path(to_place.value.path, new_name);
    auto renamed = mount().writer().rename(from, to, flags, caller);
    if (!renamed.ok() && (renamed.error == ENOTEMPTY || renamed.error == EEXIST)) {
        // A directory whose files are removed as far as the mount shows them is empty.
        const auto emptied = mount().tags().find(to);
        if (emptied && emptied->remove_hidden(caller).ok()) {
            renamed = mount().writer().rename(from, to, flags, caller);
        }
    }
    if (!renamed.ok()) {
        return renamed;
    }
    mount().note_rename(from, to, (flags & RENAME_EXCHANGE) != 0);
    for (const auto& tag : {from_tag, to_tag}) {
        if (tag) {
            tag->note_change();
        }
    }
    return Done{};
}

}  // namespace ckptfs
