// Listing, recognising and stamping directories of SOURCE.
#include "fs/source_tree.h"

#include <algorithm>
#include <utility>

#include "fs/identity.h"
#include "util/log.h"
#include "util/path.h"

namespace ckptfs {
namespace {

std::uint64_t signature_of(const TagGeneration::Shards& shards) {
    IdentityHasher hasher;
    for (std::size_t i = 0; i < shards.names.size(); ++i) {
        hasher.add(shards.names[i]).add(shards.stamps[i]);
    }
    return std::max<std::uint64_t>(hasher.identity().inode, 1);
}

FileStamp stamp_of(const Source& source, const std::string& path) {
    const auto info = source.stat_target(path);
    return info ? info->stamp : FileStamp{};
}

}  // namespace

SourceTree::SourceTree(std::shared_ptr<const Source> source, std::shared_ptr<const TagReader> reader,
                       std::function<TimePoint()> now)
    : source_(std::move(source)), reader_(std::move(reader)), now_(std::move(now)) {}

std::shared_ptr<SourceDirectory> SourceTree::directory(const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (directories_.size() >= purge_at_) {
        std::erase_if(directories_, [](const auto& item) { return item.second.expired(); });
        purge_at_ = std::max<std::size_t>(64, 2 * directories_.size());
    }
    auto& known = directories_[path];
    auto directory = known.lock();
    if (!directory) {
        directory = std::make_shared<SourceDirectory>(shared_from_this(), path);
        known = directory;
    }
    return directory;
}

void SourceTree::note_world_size(std::uint64_t world_size) {
    const std::lock_guard lock(mutex_);
    world_sizes_.insert(world_size);
}

std::vector<std::uint64_t> SourceTree::world_sizes() const {
    const std::lock_guard lock(mutex_);
    return {world_sizes_.begin(), world_sizes_.end()};
}

TagGeneration::TagGeneration(std::shared_ptr<SourceTree> tree, std::string path, Shards shards)
    : tree_(std::move(tree)), path_(std::move(path)), shards_(std::move(shards)), signature_(signature_of(shards_)) {}

std::string TagGeneration::display() const {
    return tree_->source().display(path_);
}

std::shared_ptr<const Tag> TagGeneration::tag() {
    const std::lock_guard lock(read_mutex_);
    if (!tag_) {
        set_tag(tree_->reader().read(tree_->source(), path_));
        for (const std::string& warning : tag_->warnings()) {
            log::warn(warning);
        }
        if (tag_->problem() == nullptr && !read_from_these_shards(*tag_)) {
            tree_->directory(path_)->expire();
        }
    }
    return tag_;
}

bool TagGeneration::is_current() const {
    for (std::size_t i = 0; i < shards_.names.size(); ++i) {
        if (stamp_of(tree_->source(), join_path(path_, shards_.names[i])) != shards_.stamps[i]) {
            return false;
        }
    }
    return true;
}

bool TagGeneration::read_from_these_shards(const Tag& tag) const {
    if (tag.stamped_files().size() != tag.stamps().size()) {
        return false;
    }
    std::map<std::string_view, const FileStamp*> unmatched;
    for (std::size_t i = 0; i < shards_.names.size(); ++i) {
        unmatched.emplace(shards_.names[i], &shards_.stamps[i]);
    }
    for (std::size_t i = 0; i < tag.stamps().size(); ++i) {
        const auto match = unmatched.find(tag.stamped_files()[i]);
        if (match == unmatched.end() || *match->second != tag.stamps()[i]) {
            return false;
        }
        unmatched.erase(match);
    }
    return unmatched.empty();
}

void TagGeneration::adopt(const std::shared_ptr<const Tag>& tag) {
    if (tag->problem() != nullptr || !read_from_these_shards(*tag)) {
        return;
    }
    const std::lock_guard lock(read_mutex_);
    if (!tag_) {
        set_tag(tag);
    }
}

void TagGeneration::set_tag(std::shared_ptr<const Tag> tag) {
    tag_ = std::move(tag);
    if (const Error* problem = tag_->problem()) {
        worth_another_read_ = problem->code() == ErrorCode::io || problem->code() == ErrorCode::stale;
    } else if (tag_->world_size() != 0) {
        tree_->note_world_size(tag_->world_size());
    }
}

std::shared_ptr<const TagFiles> TagGeneration::files_at(std::uint64_t world_size,
                                                        const std::shared_ptr<SourceDirectory>& directory) {
    const std::lock_guard lock(files_mutex_);
    std::erase_if(files_, [](const auto& item) { return item.second.expired(); });
    auto& known = files_[world_size];
    auto files = known.lock();
    if (!files) {
        files = std::make_shared<const TagFiles>(directory, shared_from_this(), world_size);
        known = files;
    }
    return files;
}

TagFiles::TagFiles(std::shared_ptr<SourceDirectory> directory, std::shared_ptr<TagGeneration> generation,
                   std::uint64_t world_size)
    : directory_(std::move(directory)), generation_(std::move(generation)), world_size_(world_size) {}

const TagFiles::Content& TagFiles::content() const {
    const std::lock_guard lock(mutex_);
    if (content_) {
        return *content_;
    }
    Content content;
    const auto tag = generation_->tag();
    content.shards.insert(tag->replaced_files().begin(), tag->replaced_files().end());
    if (const Error* problem = tag->problem()) {
        content.problem = *problem;
    } else if (auto view = tag->at_world_size(world_size_)) {
        content.view = std::move(view).value();
    } else {
        content.problem = view.error();
    }
    if (content.problem) {
        content.shards.insert(generation_->shards().names.begin(), generation_->shards().names.end());
    }
    return content_.emplace(std::move(content));
}

void TagFiles::report_problem() const {
    const auto& problem = content().problem;
    if (problem && !reported_.exchange(true)) {
        log::error(generation_->display() + " cannot be shown at world size " + std::to_string(world_size_) + ": " +
                   problem->message());
    }
}

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

Result<std::shared_ptr<const SourceDirectory::Snapshot>> SourceDirectory::current() {
    const std::lock_guard lock(mutex_);
    const auto now = tree_->now();
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

void SourceDirectory::expire() {
    expired_ = true;
}

std::shared_ptr<TagGeneration> SourceDirectory::generation_of(const std::vector<DirectoryEntry>& entries) const {
    if (!tree_->reader().recognises(entries)) {
        return nullptr;
    }
    TagGeneration::Shards shards;
    shards.names = tree_->reader().shard_files(entries);
    std::sort(shards.names.begin(), shards.names.end());
    shards.stamps.reserve(shards.names.size());
    for (const auto& name : shards.names) {
        shards.stamps.push_back(stamp_of(tree_->source(), child(name)));
    }
    return std::make_shared<TagGeneration>(tree_, path_, std::move(shards));
}

}  // namespace ckptfs
