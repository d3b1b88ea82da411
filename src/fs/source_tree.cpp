// Listing, recognising and stamping directories of SOURCE.
#include "fs/source_tree.h"

#include <algorithm>
#include <array>
#include <utility>

#include "fs/identity.h"
#include "util/log.h"
#include "util/path.h"

namespace ckptfs {
namespace {

/// Tags that one call of forget_removed_tags() looks at.
constexpr std::size_t most_looks = 16;
/// Every how many calls that looks at tags, at least.
constexpr unsigned rarest_look = 32;

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

/// A tag of which no view is to be had although every file of it is whole.
class RefusedTag final : public Tag {
 public:
    RefusedTag(const Tag& tag, Error problem)
        : replaced_(tag.replaced_files()),
          stamped_(tag.stamped_files()),
          stamps_(tag.stamps()),
          problem_(std::move(problem)) {}

    [[nodiscard]] const Error* problem() const override { return &problem_; }
    [[nodiscard]] const std::vector<std::string>& warnings() const override { return warnings_; }
    [[nodiscard]] std::uint64_t world_size() const override { return 0; }
    [[nodiscard]] const std::vector<std::string>& replaced_files() const override { return replaced_; }
    [[nodiscard]] const std::vector<std::string>& stamped_files() const override { return stamped_; }
    [[nodiscard]] const std::vector<FileStamp>& stamps() const override { return stamps_; }
    [[nodiscard]] bool is_of_save(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const View>> show(const ViewRequest& /*request*/) const override {
        return problem_;
    }

 private:
    std::vector<std::string> replaced_;
    std::vector<std::string> stamped_;
    std::vector<FileStamp> stamps_;
    std::vector<std::string> warnings_;
    Error problem_;
};

}  // namespace

SourceTree::SourceTree(std::shared_ptr<const Source> source, std::shared_ptr<const TagReader> reader, Clocks clocks,
                       bool allow_other)
    : source_(std::move(source)), reader_(std::move(reader)), clocks_(std::move(clocks)), allow_other_(allow_other) {}

Result<std::vector<Permissions>> SourceTree::passages_to(const std::string& path) const {
    std::vector<Permissions> passages;
    if (allow_other_) {
        CKPTFS_ASSIGN(const auto way, source_->way_to(path));
        for (const FileInfo& directory : way) {
            passages.push_back(passage_through(directory));
        }
    }
    return passages;
}

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

std::shared_ptr<const SavedFiles> SourceTree::last_save(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = last_saves_.find(path);
    return found == last_saves_.end() ? nullptr : found->second;
}

void SourceTree::note_save(const std::string& path, const Tag& tag) {
    auto files = std::make_shared<const SavedFiles>(tag);
    const std::lock_guard lock(mutex_);
    last_saves_.insert_or_assign(path, std::move(files));
}

void SourceTree::note_loaded(const std::shared_ptr<TagGeneration>& generation) {
    const std::lock_guard lock(mutex_);
    loaded_.insert(generation);
}

bool SourceTree::is_loaded(const std::weak_ptr<TagGeneration>& generation) const {
    const std::lock_guard lock(mutex_);
    return loaded_.contains(generation);
}

void SourceTree::forget_removed_tags() {
    idle_calls_ = used_.exchange(false) ? 0 : idle_calls_ + 1;
    const bool is_power_of_2 = (idle_calls_ & (idle_calls_ - 1)) == 0;  // or 0
    if (!is_power_of_2 && idle_calls_ % rarest_look != 0) {
        return;
    }
    for (const auto& generation : loaded_to_look_at()) {
        if (is_gone(generation->path())) {
            forget(generation);
        }
    }
    forget_saves_of_removed_tags();
}

std::vector<std::shared_ptr<TagGeneration>> SourceTree::loaded_to_look_at() {
    std::vector<std::shared_ptr<TagGeneration>> next;
    const std::lock_guard lock(mutex_);
    std::erase_if(loaded_, [](const auto& generation) { return generation.expired(); });
    auto at = loaded_.upper_bound(last_looked_at_);
    for (auto left = std::min(loaded_.size(), most_looks); left > 0; --left) {
        if (at == loaded_.end()) {
            at = loaded_.begin();
        }
        last_looked_at_ = *at;
        if (auto generation = (at++)->lock()) {
            next.push_back(std::move(generation));
        }
    }
    return next;
}

bool SourceTree::is_gone(const std::string& path) const {
    const auto info = source_->stat_target(path);
    return !info && (info.error().code() == ErrorCode::not_found || info.error().code() == ErrorCode::stale);
}

void SourceTree::forget(const std::shared_ptr<TagGeneration>& generation) {
    {
        const std::lock_guard lock(mutex_);
        loaded_.erase(generation);  // before it is unloaded: it may be read again at once
    }
    const bool unloaded = generation->unload();
    const std::lock_guard lock(mutex_);
    if (unloaded) {
        last_saves_.erase(generation->path());
    } else {
        loaded_.insert(generation);
    }
}

// Those of tags that are no longer in memory are looked at when there are twice as many as were left the last time.
void SourceTree::forget_saves_of_removed_tags() {
    std::vector<std::string> paths;
    {
        const std::lock_guard lock(mutex_);
        if (last_saves_.size() < forget_saves_at_) {
            return;
        }
        for (const auto& [path, files] : last_saves_) {
            paths.push_back(path);
        }
    }
    std::erase_if(paths, [&](const std::string& path) { return !is_gone(path); });
    const std::lock_guard lock(mutex_);
    for (const auto& path : paths) {
        last_saves_.erase(path);
    }
    forget_saves_at_ = std::max<std::size_t>(64, 2 * last_saves_.size());
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

Result<std::vector<Permissions>> TagGeneration::passages() const {
    if (!tree_->allows_others()) {
        return std::vector<Permissions>();
    }
    const std::lock_guard lock(passages_mutex_);
    const auto now = tree_->now();
    if (!passages_found_at_ || now - *passages_found_at_ >= freshness) {
        CKPTFS_ASSIGN(passages_, find_passages());
        passages_found_at_ = now;
    }
    return passages_;
}

Result<std::vector<Permissions>> TagGeneration::find_passages() const {
    std::vector<Permissions> all;
    for (const std::string& name : shards_.names) {
        const std::string path = join_path(path_, name);
        CKPTFS_ASSIGN(const FileInfo info, tree_->source().stat(path));
        if (info.type != FileType::symlink) {
            continue;
        }
        CKPTFS_ASSIGN(const std::string real, tree_->source().resolve(path));
        CKPTFS_ASSIGN(const auto passages, tree_->passages_to(real));
        for (const Permissions& passage : passages) {
            if (std::find(all.begin(), all.end(), passage) == all.end()) {
                all.push_back(passage);
            }
        }
    }
    return all;
}

std::shared_ptr<const Tag> TagGeneration::tag() {
    const std::lock_guard lock(read_mutex_);
    if (!tag_) {
        if (!has_settled()) {
            tree_->clocks().sleep(tree_->last_save(path_) ? settling_time_of_save : settling_time);
        }
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

bool TagGeneration::unload() {
    std::shared_ptr<const Tag> released;  // destroyed after the lock
    {
        const std::unique_lock reading(read_mutex_, std::try_to_lock);
        if (!reading.owns_lock()) {
            return false;
        }
        released.swap(tag_);
    }
    bool unloaded = true;
    const std::lock_guard lock(files_mutex_);
    for (const auto& [world_size, known] : files_) {
        if (const auto files = known.lock()) {
            unloaded = files->unload() && unloaded;
        }
    }
    return unloaded;
}

bool TagGeneration::has_settled() const {
    const std::int64_t now = tree_->clocks().wall_now_ns();
    return std::all_of(shards_.stamps.begin(), shards_.stamps.end(), [&](const FileStamp& stamp) {
        return now - stamp.ctime_ns >= std::chrono::nanoseconds(settled_age).count();
    });
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
    if (tag->problem() != nullptr || !read_from_these_shards(*tag) || !has_settled()) {
        return;
    }
    const std::lock_guard lock(read_mutex_);
    if (!tag_) {
        set_tag(tag);
    }
}

void TagGeneration::set_tag(std::shared_ptr<const Tag> tag) {
    tag_ = std::move(tag);
    tree_->note_loaded(shared_from_this());
    if (tag_->problem() == nullptr && read_from_these_shards(*tag_)) {
        const auto before = tree_->last_save(path_);
        if (auto problem = before ? before->partly_replaced_in(*tag_) : std::nullopt) {
            tag_ = std::make_shared<RefusedTag>(*tag_, *std::move(problem));
        } else {
            tree_->note_save(path_, *tag_);
        }
    }
    if (const Error* problem = tag_->problem()) {
        constexpr std::array passing{ErrorCode::io, ErrorCode::stale, ErrorCode::not_found};
        worth_another_read_ = std::find(passing.begin(), passing.end(), problem->code()) != passing.end();
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

std::shared_ptr<const TagFiles::Content> TagFiles::loaded() const {
    const std::lock_guard lock(mutex_);
    return content_;
}

bool TagFiles::unload() const {
    std::shared_ptr<const Content> released;  // destroyed after the lock
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) {
        released.swap(content_);
    }
    return lock.owns_lock();
}

std::shared_ptr<const TagFiles::Content> TagFiles::content() const {
    directory_->tree().note_use();
    const std::lock_guard lock(mutex_);
    if (content_) {
        return content_;
    }
    Content content;
    const auto tag = generation_->tag();
    content.shards.insert(tag->replaced_files().begin(), tag->replaced_files().end());
    if (const Error* problem = tag->problem()) {
        content.problem = *problem;
    } else if (auto view = tag->show(ViewRequest::at_world_size(world_size_))) {
        content.view = std::move(view).value();
    } else {
        content.problem = view.error();
    }
    if (content.problem) {
        content.shards.insert(generation_->shards().names.begin(), generation_->shards().names.end());
    }
    content_ = std::make_shared<const Content>(std::move(content));
    return content_;
}

void TagFiles::report_problem() const {
    const auto shown = content();
    const auto& problem = shown->problem;
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

void SourceDirectory::expire() {
    expired_ = true;
}

std::shared_ptr<TagGeneration> SourceDirectory::last_generation() {
    const std::lock_guard lock(mutex_);
    return snapshot_ ? snapshot_->generation : nullptr;
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
