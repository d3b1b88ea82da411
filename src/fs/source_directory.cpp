// Listing, recognising and stamping directories of SOURCE.
#include "fs/source_directory.h"

#include <algorithm>
#include <utility>

#include "fs/current_tag.h"
#include "fs/source_tree.h"
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
    if (!expired_.exchange(false) && snapshot_ && now - snapshot_->checked_at < freshness) {
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
    fresh->generation = generation_of(fresh->entries);
    const auto previous = snapshot_ ? snapshot_->generation : nullptr;
    if (previous && fresh->generation && !previous->worth_another_read() &&
        previous->shards() == fresh->generation->shards()) {
        fresh->generation = previous;
    }
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
    shards.stamps.reserve(shards.names.size());
    for (const auto& name : shards.names) {
        shards.stamps.push_back(stamp_of(tree_->source(), child(name)));
    }
    return shards;
}

std::shared_ptr<TagGeneration> SourceDirectory::generation_of(const std::vector<DirectoryEntry>& entries) const {
    return tree_->reader().recognises(entries) ? std::make_shared<TagGeneration>(tree_, path_, shards_among(entries))
                                               : nullptr;
}

}  // namespace ckptfs
