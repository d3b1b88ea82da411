// Opening what passes through, and telling the tag that it may be a shard of.
#include "fs/writable_file.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "fs/own_caller.h"
#include "fs/source_tree.h"
#include "fs/writable_directory.h"

namespace ckptfs {
namespace {

/// A handle that tells `tag` when it is closed.
std::shared_ptr<const SourceHandle> counted(std::shared_ptr<const SourceHandle> handle,
                                            std::shared_ptr<WritableTag> tag) {
    tag->begin_writing();
    const auto* const raw = handle.get();
    return {raw, [kept = std::move(handle), tag = std::move(tag)](const SourceHandle* /*raw*/) mutable {
                kept.reset();
                tag->end_writing();
            }};
}

bool opens_for_writing(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY;
}

}  // namespace

Outcome<OpenedBytes> WritableFile::open() {
    return open_for(O_RDONLY, OwnCaller());
}

Outcome<OpenedBytes> WritableFile::open_for(int flags, const Caller& caller) {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    if (found.value.info.type != FileType::regular) {
        return Errno{ENXIO};
    }
    const EntryPlace& place = found.value.place;
    const auto tag = place.directory->tag_for(place.directory_path, place.name);
    // What is to be written whole or from its end is SOURCE's file in any case.
    const bool takes_over = (flags & O_TRUNC) != 0 || (flags & O_ACCMODE) == O_WRONLY;
    if (tag && !takes_over) {
        if (const auto used = tag->may_be_used(place.name); !used.ok()) {
            return used.failure();
        }
    }
    if (tag && writes(flags)) {
        if (const auto ended = tag->end_removal(caller); !ended.ok()) {
            return ended.failure();
        }
    }
    // Truncated only when it is known to be this file.
    const bool truncates = (flags & O_TRUNC) != 0;
    const int deferred = opens_for_writing(flags) ? O_TRUNC : 0;
    auto opened = mount().writer().open(place.path, flags & ~(O_CREAT | O_EXCL | deferred), 0, caller);
    if (!opened.ok()) {
        return Errno{opened.error == ENOENT || opened.error == ELOOP ? ESTALE : opened.error};
    }
    auto handle = std::move(opened.value);
    auto info = handle->info();
    if (info.ok() && !is_same(info.value)) {
        return Errno{ESTALE};
    }
    if (info.ok() && truncates && deferred != 0) {
        if (const auto cut = handle->change({.size = 0}, caller); !cut.ok()) {
            return cut.failure();
        }
        info = handle->info();
    }
    if (!info.ok()) {
        return info.failure();
    }
    return this->opened(std::move(handle), info.value, writes(flags) ? tag : nullptr);
}

OpenedBytes WritableFile::opened(std::shared_ptr<const SourceHandle> handle, const FileInfo& info,
                                 std::shared_ptr<WritableTag> tag) {
    OpenedBytes bytes;
    bytes.handle = tag ? counted(std::move(handle), std::move(tag)) : std::move(handle);
    const SourceTree& tree = mount().tree().tree();
    const bool has_settled =
        tree.clocks().wall_now_ns() - info.stamp.ctime_ns >= std::chrono::nanoseconds(settled_age).count();
    const std::lock_guard lock(mutex_);
    bytes.keeps_pages = stamp_ == info.stamp;
    stamp_ = has_settled ? std::optional(info.stamp) : std::nullopt;
    std::erase_if(handles_, [](const auto& known) { return known.expired(); });
    handles_.emplace_back(bytes.handle);
    return bytes;
}

std::vector<std::shared_ptr<const SourceHandle>> WritableFile::handles() {
    std::vector<std::shared_ptr<const SourceHandle>> open;
    const std::lock_guard lock(mutex_);
    for (const auto& known : handles_) {
        if (auto handle = known.lock()) {
            open.push_back(std::move(handle));
        }
    }
    return open;
}

Outcome<FileAttributes> WritableFile::change(std::uint64_t inode, const SourceHandle* handle,
                                             const AttributeChange& change, const Caller& caller) {
    const auto found = change.size ? locate() : Errno{ESTALE};
    const EntryPlace& place = found.value.place;
    const auto tag = found.ok() ? place.directory->tag_for(place.directory_path, place.name) : nullptr;
    if (tag && handle == nullptr && *change.size != 0) {
        if (const auto used = tag->may_be_used(place.name); !used.ok()) {
            return used.failure();
        }
    }
    if (tag) {
        if (const auto ended = tag->end_removal(caller); !ended.ok()) {
            return ended.failure();
        }
    }
    auto changed = WritableNode::change(inode, handle, change, caller);
    if (tag && changed.ok()) {
        tag->note_change();
    }
    return changed;
}

Outcome<std::string> WritableLink::read_link() {
    const auto found = locate();
    if (!found.ok()) {
        return found.failure();
    }
    auto text = mount().source().read_link(found.value.place.path);
    return text ? Outcome(std::move(text).value()) : answer_of_source(text.error());
}

}  // namespace ckptfs
