// Listing, recognising and stamping directories of SOURCE.
#include "fs/source_directory.h"

#include <algorithm>
#include <utility>

#include "fs/current_tag.h"
#include "fs/source_tree.h"
#include "util/parallel.h"
#include "util/path.h"

namespace ckptfs {

const DirectoryEntry* SourceDirectory::Snapshot::find(std::string_view name) const {
    const auto at =
        std::lower_bound(entries.begin(), entries.end(), name,
                         [](const DirectoryEntry& entry, std::string_view key) { return entry.name < key; });
    return at != entries.end() && at->name == name ? &*at : nullptr;
}

SourceDirectory::SourceDirectory(std::shared_ptr<SourceTree> tree, std::string path)
    : tree_(std::move(tree)), path_(std::move(path)) {}

std::string SourceDirectory::child(std::string_view name) const {
    return join_path(path_, name);
}

bool SourceDirectory::is_due(TimePoint now) {
    const std::lock_guard lock(mutex_);
    return expired_ || !snapshot_ || now - snapshot_->checked_at >= freshness;
}

Result<std::shared_ptr<const SourceDirectory::Snapshot>> SourceDirectory::current() {
    const auto now = tree_->now();
    if (is_due(now)) {
        tree_->source().refresh();  // without the lock: the name of the root may lead through this very mount
    }
    const std::lock_guard lock(mutex_);
    const bool expired = expired_.exchange(false);
    if (!expired && snapshot_ && now - snapshot_->checked_at < freshness) {
        return snapshot_;
    }
    auto entries = tree_->source().list(path_);
    if (!entries) {
        expired_ = true;
        return entries.error();
    }
    auto fresh = std::make_shared<Snapshot>();
    fresh->checked_at = now;
    fresh->entries = std::move(entries).value();
    fresh->generation = generation_of(fresh->entries, now, expired);
    snapshot_ = std::move(fresh);
    return snapshot_;
}

std::shared_ptr<const CurrentTag> SourceDirectory::current_tag(const std::shared_ptr<const Snapshot>& snapshot) {
    const std::lock_guard lock(current_tag_mutex_);
    if (current_tag_of_ != snapshot) {
        current_tag_ = find_current_tag(*tree_, path_, *snapshot);
        current_tag_of_ = snapshot;
    }
    return current_tag_;
}

void SourceDirectory::expire() {
    expired_ = true;
}

std::shared_ptr<TagGeneration> SourceDirectory::last_generation() {
    const std::lock_guard lock(mutex_);
    return snapshot_ ? snapshot_->generation : nullptr;
}

TagGeneration::Shards SourceDirectory::shards_among(const std::vector<DirectoryEntry>& entries) const {
    TagGeneration::Shards shards;
    shards.names = tree_->reader().shard_files(entries);
    std::sort(shards.names.begin(), shards.names.end());
    shards.stamps.resize(shards.names.size());
    for_each_in_parallel(shards.names.size(), looks_at_a_time(shards.names.size()), [&](std::size_t i) {
        shards.stamps[i] = stamp_of(tree_->source(), child(shards.names[i]));
        return true;
    });
    return shards;
}

std::shared_ptr<TagGeneration> SourceDirectory::generation_of(const std::vector<DirectoryEntry>& entries, TimePoint now,
                                                              bool look_at_all) {
    if (!tree_->reader().recognises(entries)) {
        return nullptr;
    }
    auto previous = snapshot_ ? snapshot_->generation : nullptr;
    if (previous && previous->worth_another_read()) {
        previous = nullptr;
    }
    if (previous && !look_at_all && looked_at_all_ && now - *looked_at_all_ < look_at_all_after_) {
        auto names = tree_->reader().shard_files(entries);
        std::sort(names.begin(), names.end());
        if (names == previous->shards().names && previous->is_last_save().value_or(false)) {
            return previous;
        }
    }
    auto shards = shards_among(entries);
    // So that it takes a twentieth of the time at most.
    look_at_all_after_ = std::max<TimePoint::duration>(freshness, 20 * (tree_->now() - now));
    looked_at_all_ = now;
    return previous && previous->shards() == shards ? previous
                                                    : std::make_shared<TagGeneration>(tree_, path_, std::move(shards));
}

}  // namespace ckptfs
