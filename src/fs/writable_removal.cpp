// Removing a tag that is shown as a view: SOURCE's shards go by the sets of the view, and not by the name.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>
#include <vector>

#include "fs/mount_tree.h"
#include "fs/source_tree.h"
#include "fs/writable_tag.h"

namespace ckptfs {
namespace {

/// The shards in `directory` now, also where it is no longer recognised as a tag.
TagGeneration::Shards shards_in(const SourceDirectory& directory, const SourceDirectory::Snapshot& snapshot) {
    return snapshot.generation ? snapshot.generation->shards() : directory.shards_among(snapshot.entries);
}

/// Whether a file is the one of that stamp, whatever has been done to its attributes and other names.
bool is_same_file(const FileStamp& now, const FileStamp& then) {
    return now.device == then.device && now.inode == then.inode && now.size == then.size &&
           now.mtime_ns == then.mtime_ns;
}

}  // namespace

Outcome<Done> WritableTag::end_removal(const Caller& caller) {
    const std::lock_guard alone(changing_);
    const auto looked = look_at_removal();
    const ShownTag& shown = looked.value;
    if (!looked.ok() || !shown.removed) {
        return looked.failure();
    }
    Removal removal = removal_of(shown);
    NameSet names;
    std::copy_if(shown.removed->begin(), shown.removed->end(), std::inserter(names, names.end()),
                 [&](const std::string& name) { return shown.content->shards.contains(name); });
    const auto removed = remove_shards(removal, std::move(names), caller);
    if (removed.ok()) {
        note_change();
    }
    return removed.failure();
}

Outcome<Done> WritableTag::remove(const std::string& name, const Caller& caller) {
    const std::lock_guard alone(changing_);
    for (bool is_of_now = false;; is_of_now = true) {
        const auto looked = look();
        if (!looked.ok()) {
            return looked.failure();
        }
        const ShownTag& shown = looked.value;
        const auto kind = shown.kind_of(name);
        if (kind == ShownTag::Name::hidden || kind == ShownTag::Name::removed) {
            return Errno{ENOENT};
        }
        if (!shown.files) {
            auto removed = writer_->remove_file(directory()->child(name), caller);
            if (removed.ok()) {
                note_change();
            }
            return removed;
        }
        Removal removal = removal_of(shown);
        if (kind == ShownTag::Name::plain) {  // it belongs to the save
            return remove_passed_through(std::move(removal), name, caller);
        }
        const auto set = shown.content->view->file_set(name);
        if (!set) {
            return Errno{EROFS};
        }
        if (removal.left[*set] == 1) {
            if (!is_of_now) {
                directory()->expire();
                continue;
            }
            const auto removed = remove_shards(removal, shards_of(removal, *set), caller);
            if (!removed.ok() || !removed.value) {
                return Errno{removed.ok() ? ESTALE : removed.error};
            }
        }
        --removal.left[*set];
        removal.removed.insert(name);
        remember(std::move(removal));
        return Done{};
    }
}

Outcome<Done> WritableTag::remove_hidden(const Caller& caller) {
    const std::lock_guard alone(changing_);
    const auto looked = look_at_removal();
    const ShownTag& shown = looked.value;
    if (!looked.ok() || !shown.removed) {
        return looked.failure();
    }
    Removal removal = removal_of(shown);
    const auto directory = this->directory();
    const auto entries = directory->tree().source().list(directory->path());
    if (!entries) {
        return Done{};  // the removal of the directory says why
    }
    NameSet names;
    for (const DirectoryEntry& entry : *entries) {
        if (!shown.content->shards.contains(entry.name) || removal.gone.contains(entry.name)) {
            return Done{};  // it is seen
        }
        names.insert(entry.name);
    }
    const bool is_seen_empty =
        std::all_of(removal.left.begin(), removal.left.end(), [](const auto& set) { return set.second == 0; });
    return is_seen_empty ? Errno{remove_shards(removal, std::move(names), caller).error} : Outcome<Done>(Done{});
}

Outcome<bool> WritableTag::remove_shards(Removal& removal, NameSet names, const Caller& caller) {
    if (names.empty()) {
        return true;
    }
    const auto directory = this->directory();
    Outcome<bool> removed = true;
    removal.going = std::move(names);
    remember(removal);  // before: that they vanish is no news to others
    for (const std::string& name : removal.going) {
        removed = is_as_read(removal, name);
        if (!removed.ok() || !removed.value) {
            break;
        }
        const auto one = writer_->remove_file(directory->child(name), caller);
        if (!one.ok() && one.error != ENOENT) {
            removed = one.failure();
            break;
        }
        removal.gone.insert(name);
    }
    removal.going.clear();
    directory->expire();  // before anybody compares with what is gone
    remember(removal);
    if (removed.ok() && !removed.value) {
        std::shared_ptr<const Removal> ended;  // destroyed after the lock
        const std::lock_guard lock(mutex_);
        ended.swap(removal_);
    }
    return removed;
}

Outcome<Done> WritableTag::remove_passed_through(Removal removal, const std::string& name, const Caller& caller) {
    removal.going = {name};
    remember(removal);
    auto removed = writer_->remove_file(directory()->child(name), caller);
    removal.going.clear();
    if (removed.ok()) {
        removal.gone.insert(name);
    }
    directory()->expire();
    remember(std::move(removal));
    return removed;
}

Outcome<bool> WritableTag::is_as_read(const Removal& removal, const std::string& name) const {
    const auto& shards = removal.files->generation().shards();
    const auto at = std::lower_bound(shards.names.begin(), shards.names.end(), name);
    if (at == shards.names.end() || *at != name) {
        return false;
    }
    const auto directory = this->directory();
    const auto info = directory->tree().source().stat_target(directory->child(name));
    if (!info) {
        return info.error().code() == ErrorCode::not_found ? Outcome(true) : answer_of_source(info.error());
    }
    return is_same_file(info->stamp, shards.stamps[static_cast<std::size_t>(at - shards.names.begin())]);
}

NameSet WritableTag::shards_of(const Removal& removal, std::size_t set) {
    NameSet names;
    for (const std::string& shard : removal.content->shards) {
        if (!removal.gone.contains(shard) && removal.content->view->file_set(shard) == set) {
            names.insert(shard);
        }
    }
    return names;
}

Outcome<ShownTag> WritableTag::look_at_removal() {
    if (!last_removal()) {
        return ShownTag{};
    }
    directory()->expire();
    return look();
}

std::shared_ptr<const WritableTag::Removal> WritableTag::last_removal() {
    const std::lock_guard lock(mutex_);
    return removal_;
}

Outcome<std::shared_ptr<const WritableTag::Removal>> WritableTag::removal_in(const Snapshot& snapshot,
                                                                             std::shared_ptr<const Removal> removal) {
    if (!removal) {
        return removal;
    }
    if (now() - removal->last < removal_memory) {
        const auto is_left = is_what_is_left(shards_in(*directory(), snapshot), *removal);
        if (!is_left.ok()) {
            return is_left.failure();
        }
        if (is_left.value) {
            return removal;
        }
    }
    const std::lock_guard lock(mutex_);
    if (removal_ == removal) {
        removal_ = nullptr;
    }
    return removal_;  // it may have gone on meanwhile
}

Outcome<bool> WritableTag::is_what_is_left(const TagGeneration::Shards& shards, const Removal& removal) const {
    const auto& before = removal.files->generation().shards();
    std::size_t at = 0;
    const auto skip_gone = [&] {
        while (at < before.names.size() &&
               (removal.gone.contains(before.names[at]) || removal.going.contains(before.names[at]))) {
            ++at;
        }
    };
    for (std::size_t i = 0; i < shards.names.size(); ++i) {
        if (removal.going.contains(shards.names[i])) {
            continue;
        }
        skip_gone();
        if (at == before.names.size() || before.names[at] != shards.names[i]) {
            return false;
        }
        if (before.stamps[at] != shards.stamps[i]) {
            const auto directory = this->directory();
            const auto info = directory->tree().source().stat_target(directory->child(shards.names[i]));
            if (!info && info.error().code() != ErrorCode::not_found) {
                return answer_of_source(info.error());
            }
            if (!info || info->stamp != before.stamps[at]) {
                return false;
            }
        }
        ++at;
    }
    skip_gone();
    return at == before.names.size();
}

std::shared_ptr<const WritableTag::Removal> WritableTag::removal_here(
    std::shared_ptr<const Removal> removal, const Snapshot& snapshot,
    const std::shared_ptr<SourceDirectory>& directory) {
    const auto& generation = snapshot.generation;
    if (removal->files->directory() == directory || !generation ||
        generation->shards() != removal->files->generation().shards()) {
        return removal;
    }
    auto files = generation->files_for(request_, directory);
    auto content = files->content();
    if (!content->view) {
        return removal;
    }
    Removal moved = *removal;
    moved.files = std::move(files);
    moved.content = std::move(content);
    auto here = std::make_shared<const Removal>(std::move(moved));
    const std::lock_guard lock(mutex_);
    if (removal_ == removal) {
        removal_ = here;
    }
    return here;
}

WritableTag::Removal WritableTag::removal_of(const ShownTag& shown) {
    if (const auto removal = last_removal(); removal && (shown.removed || removal->files == shown.files)) {
        return *removal;
    }
    Removal removal{
        .files = shown.files, .content = shown.content, .removed = {}, .left = {}, .gone = {}, .going = {}, .last = {}};
    const View& view = *shown.content->view;
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        if (const auto set = view.file_set(view.file_name(i))) {
            ++removal.left[*set];
        }
    }
    return removal;
}

void WritableTag::remember(Removal removal) {
    removal.last = now();
    auto next = std::make_shared<const Removal>(std::move(removal));  // the last one is destroyed after the lock
    const std::lock_guard lock(mutex_);
    removal_.swap(next);
}

}  // namespace ckptfs
