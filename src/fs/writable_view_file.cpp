// What is asked of a file of a view, and becomes of SOURCE's shards.
#include "fs/writable_view_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/attributes.h"
#include "fs/own_directory.h"
#include "fs/source_tree.h"

namespace ckptfs {
namespace {

/// Access control lists are not shown: what they leave of a mode is in that already.
bool is_acl(std::string_view attribute) {
    return attribute == "system.posix_acl_access" || attribute == "system.posix_acl_default";
}

StandingView standing_of(const WritableMount& mount, const ShownTag& shown) {
    return {.files = shown.files, .root = mount.tree().source_root(), .place = shown.files->directory()->path()};
}

Outcome<Attributes> attributes_of_shown(const WritableMount& mount, const StandingView& standing, const View& view,
                                        std::size_t index, std::uint64_t inode) {
    const auto size = view.file_size(index);
    if (!size) {
        return answer(size.error());
    }
    const auto info = info_of(mount.tree(), standing, view, index);
    if (!info.ok()) {
        return info.failure();
    }
    auto attributes = virtual_attributes(info.value, inode, *size);
    attributes.mode = info.value.mode;  // who may write the shards may write anew what is cut from them
    return attributes;
}

}  // namespace

WritableViewFile::WritableViewFile(WritableMount& mount, std::shared_ptr<WritableTag> tag, StandingView standing,
                                   std::size_t index, std::string name)
    : mount_(mount), tag_(std::move(tag)), standing_(std::move(standing)), index_(index), name_(std::move(name)) {}

Outcome<FileAttributes> WritableViewFile::attributes(std::uint64_t inode) {
    const auto content = standing_.files->loaded();
    if (!content || !content->view) {
        return Errno{ESTALE};
    }
    const auto found = attributes_of_shown(mount_, standing_, *content->view, index_, inode);
    return found.ok() ? Outcome(FileAttributes{found.value, freshness}) : found.failure();
}

Outcome<Done> WritableViewFile::check_shown() {
    const auto kind = tag_->kind_of(name_);
    if (!kind.ok()) {
        return kind.failure();
    }
    return kind.value == ShownTag::Name::shown ? Outcome<Done>(Done{}) : Errno{ESTALE};
}

Outcome<OpenedBytes> WritableViewFile::open() {
    // The kernel may come here by an entry of the last second; ESTALE makes it look the name up again.
    if (const auto shown = check_shown(); !shown.ok()) {
        return shown.failure();
    }
    const auto content = standing_.files->content();
    if (!content->view) {
        return Errno{ESTALE};
    }
    auto opened = open_file(standing_, content, index_);
    return tag_->is_current(standing_.files, *content, opened) ? std::move(opened)
                                                               : Outcome<OpenedBytes>(Errno{ESTALE});
}

Outcome<OpenedBytes> WritableViewFile::open_for(int flags, const Caller& caller) {
    if (!writes(flags)) {
        return open();
    }
    const bool truncates = (flags & O_TRUNC) != 0;
    if (!truncates && (flags & O_ACCMODE) != O_WRONLY && (flags & O_APPEND) == 0) {
        const auto shown = check_shown();
        return Errno{shown.ok() ? EROFS : shown.error};
    }
    const auto taken = take_over(truncates, caller);
    return Errno{taken.ok() ? ESTALE : taken.error};
}

// ESTALE afterwards, and where SOURCE's file has been what the name stands for already.
Outcome<Done> WritableViewFile::take_over(bool truncates, const Caller& caller) {
    if (auto shown = check_shown(); !shown.ok()) {
        return shown;
    }
    const auto attributes = this->attributes(unknown_inode);
    constexpr std::uint32_t default_mode = 0666;
    const auto mode = attributes.ok() ? attributes.value.attributes.mode : default_mode;
    return tag_->take_over(name_, truncates, mode, caller);
}

Outcome<std::vector<std::string>> WritableViewFile::shards() {
    const auto looked = tag_->look();
    const ShownTag& shown = looked.value;
    if (!looked.ok() || shown.kind_of(name_) != ShownTag::Name::shown) {
        return Errno{looked.ok() ? ESTALE : looked.error};
    }
    const auto& view = *shown.content->view;
    const auto set = view.file_set(name_);
    const auto directory = tag_->directory();  // where it is now
    std::vector<std::string> paths;
    std::vector<std::string> others;
    for (const std::string& shard : shown.content->shards) {
        if (set && view.file_set(shard) == set) {
            (view.find(shard) ? paths : others).push_back(directory->child(shard));
        }
    }
    paths.insert(paths.end(), others.begin(), others.end());
    return paths.empty() ? Errno{ESTALE} : Outcome(std::move(paths));
}

template <class Set>
Outcome<Done> WritableViewFile::on_shards(Set set) {
    const auto paths = shards();
    if (!paths.ok()) {
        return paths.failure();
    }
    tag_->note_new_attributes();
    Outcome<Done> done = Done{};
    for (const std::string& path : paths.value) {
        auto one = set(path);
        if (done.ok() && !one.ok()) {
            done = std::move(one);
        }
    }
    tag_->note_new_attributes();
    return done;
}

Outcome<FileAttributes> WritableViewFile::change(std::uint64_t inode, const SourceHandle* /*handle*/,
                                                 const AttributeChange& change, const Caller& caller) {
    if (change.size) {
        if (*change.size != 0) {
            const auto shown = check_shown();
            return Errno{shown.ok() ? EROFS : shown.error};
        }
        const auto taken = take_over(true, caller);
        return Errno{taken.ok() ? ESTALE : taken.error};
    }
    const auto changed =
        on_shards([&](const std::string& path) { return mount_.writer().change(path, change, caller); });
    if (!changed.ok()) {
        return changed.failure();
    }
    auto result = attributes(inode);
    if (result.ok()) {
        // Of this generation, which has ended: the next one shows the shards' own.
        auto& attributes = result.value.attributes;
        attributes.mode = change.mode.value_or(attributes.mode);
        attributes.uid = change.uid.value_or(attributes.uid);
        attributes.gid = change.gid.value_or(attributes.gid);
        const auto time = [&](const std::optional<AttributeChange::Time>& set, std::int64_t& shown) {
            if (set) {
                shown = set->is_now ? mount_.tree().tree().clocks().wall_now_ns() : set->ns;
            }
        };
        time(change.atime, attributes.atime_ns);
        time(change.mtime, attributes.mtime_ns);
    }
    return result;
}

Outcome<std::vector<std::byte>> WritableViewFile::attribute(const std::string& name, const Caller& caller) {
    if (is_acl(name)) {
        return Errno{ENODATA};
    }
    if (name.starts_with(own_attributes)) {
        return own_attribute(standing_, index_, name);
    }
    const auto paths = shards();
    return paths.ok() ? mount_.writer().attribute(paths.value.front(), name, caller) : paths.failure();
}

Outcome<std::vector<std::string>> WritableViewFile::attribute_names(const Caller& caller) {
    const auto paths = shards();
    if (!paths.ok()) {
        return paths.failure();
    }
    auto names = mount_.writer().attributes(paths.value.front(), caller);
    std::erase_if(names.value, [](const std::string& name) { return is_acl(name); });
    return names;
}

Outcome<Done> WritableViewFile::set_attribute(const std::string& name, std::span<const std::byte> value, int flags,
                                              const Caller& caller) {
    if (name.starts_with(own_attributes)) {
        return Errno{EPERM};  // what it says is not the shards'
    }
    return on_shards(
        [&](const std::string& path) { return mount_.writer().set_attribute(path, name, value, flags, caller); });
}

Outcome<Done> WritableViewFile::remove_attribute(const std::string& name, const Caller& caller) {
    return on_shards([&](const std::string& path) { return mount_.writer().remove_attribute(path, name, caller); });
}

IdentityHasher identity_of_shown(const WritableMount& mount, const ShownTag& shown) {
    return identity_of_files(mount.tree(), standing_of(mount, shown)).add(number(NodeKind::writable_view_file));
}

Outcome<LookedUpEntry> writable_view_entry(WritableMount& mount, std::shared_ptr<WritableTag> tag,
                                           const ShownTag& shown, std::size_t index) {
    auto standing = standing_of(mount, shown);
    const View& view = *shown.content->view;
    const auto attributes = attributes_of_shown(mount, standing, view, index, unknown_inode);
    if (!attributes.ok()) {
        return attributes.failure();
    }
    auto name = view.file_name(index);
    const auto identity = identity_of_shown(mount, shown).add(name).identity();
    LookedUpEntry entry;
    entry.attributes = attributes.value;
    entry.attributes.inode = mount.tree().inodes().renew(
        identity,
        std::make_shared<WritableViewFile>(mount, std::move(tag), std::move(standing), index, std::move(name)));
    entry.entry_lifetime = shown.lifetime;
    entry.attributes_lifetime = freshness;
    return entry;
}

}  // namespace ckptfs
