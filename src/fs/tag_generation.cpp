// Reading a tag once its files have settled.
#include "fs/tag_generation.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <numeric>
#include <string_view>
#include <utility>

#include "fs/identity.h"
#include "fs/source_directory.h"
#include "fs/source_tree.h"
#include "fs/tag_files.h"
#include "util/log.h"
#include "util/memory_budget.h"
#include "util/parallel.h"
#include "util/path.h"
#include "util/scoped_flag.h"

namespace ckptfs {
namespace {

std::uint64_t signature_of(const TagGeneration::Shards& shards) {
    IdentityHasher hasher;
    for (std::size_t i = 0; i < shards.names.size(); ++i) {
        hasher.add(shards.names[i]).add(shards.stamps[i]);
    }
    return std::max<std::uint64_t>(hasher.identity().inode, 1);
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

bool lacks_memory(const Error& error) {
    return error.code() == ErrorCode::io && error.system_errno() == ENOMEM;
}

std::size_t looks_at_a_time(std::size_t count) {
    constexpr std::size_t most = 16;
    constexpr std::size_t worth_threads = 64;
    return count < worth_threads ? 1 : most;
}

FileStamp stamp_of(const Source& source, const std::string& path) {
    const auto info = source.stat_target(path);
    return info ? info->stamp : FileStamp{};
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
        const auto info = tree_->source().stat(path);
        if (!info && info.error().code() != ErrorCode::not_found) {  // nobody goes to what is gone
            return info.error();
        }
        if (!info || info->type != FileType::symlink) {
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
        tag_ = last_tag_.lock();
        if (tag_) {
            tree_->known_tags().note_kept(shared_from_this());
        }
    }
    if (!tag_) {
        const ScopedFlag reading(is_being_read_);
        if (!has_settled()) {
            tree_->clocks().sleep(tree_->known_tags().last_save(path_) ? settling_time_of_save : settling_time);
        }
        auto read = read_once_there_is_room();
        if (telling_ && read->problem() == nullptr && !read_from_these_shards(*read)) {
            // What was let go of is not what is there now, and what is known of its files is not of this tag.
            read = std::make_shared<RefusedTag>(*read,
                                                Error(ErrorCode::stale, display() + " has changed since it was read"));
            tree_->directory(path_)->expire();
        }
        set_tag(std::move(read));
        for (const std::string& warning : tag_->warnings()) {
            log::warn(warning);
        }
        if (tag_->problem() == nullptr && !read_from_these_shards(*tag_)) {
            tree_->directory(path_)->expire();
        }
    }
    return tag_;
}

std::shared_ptr<const Tag> TagGeneration::read_once_there_is_room() {
    constexpr std::chrono::milliseconds first_pause{20};
    constexpr std::chrono::milliseconds longest_pause{160};
    constexpr std::chrono::milliseconds patience{5000};
    const auto lacks_room = [](const Tag& tag) {
        // What failed holds nothing: whatever is held is others'.
        return tag.problem() != nullptr && lacks_memory(*tag.problem()) && MemoryBudget::of_process().held() > 0;
    };
    auto read = tree_->reader().read(tree_->source(), path_);
    const auto begin = tree_->now();
    std::chrono::milliseconds slept{0};
    for (auto pause = first_pause; lacks_room(*read) && slept < patience && tree_->now() - begin < patience;
         pause = std::min(2 * pause, longest_pause)) {
        tree_->clocks().sleep(pause);
        slept += pause;
        const std::unique_lock turn(tree_->turn_for_memory(), std::try_to_lock);
        if (turn.owns_lock()) {
            read = tree_->reader().read(tree_->source(), path_);
        }
    }
    return read;
}

std::shared_ptr<const Tag> TagGeneration::tag_if_read() {
    const std::unique_lock reading(read_mutex_, std::try_to_lock);
    return reading.owns_lock() ? tag_ : nullptr;
}

bool TagGeneration::is_current() const {
    std::vector<std::size_t> all(shards_.names.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    return are_current(all);
}

bool TagGeneration::are_current(const std::vector<std::size_t>& shards) const {
    std::atomic<bool> is_same = true;
    for_each_in_parallel(shards.size(), looks_at_a_time(shards.size()), [&](std::size_t i) {
        if (!is_current(shards[i])) {
            is_same = false;
        }
        return is_same.load();
    });
    return is_same;
}

bool TagGeneration::is_current(std::size_t shard) const {
    return stamp_of(tree_->source(), join_path(path_, shards_.names[shard])) == shards_.stamps[shard];
}

bool TagGeneration::is_current_for(const Tag& tag, const File* file) const {
    if (shards_.names.size() <= looked_at_whole) {
        return is_current();
    }
    std::vector<std::size_t> stamped = tag.in_every_save();
    if (file != nullptr) {
        const std::vector<std::size_t> behind = tag.stamped_behind(*file);
        stamped.insert(stamped.end(), behind.begin(), behind.end());
        std::sort(stamped.begin(), stamped.end());
        stamped.erase(std::unique(stamped.begin(), stamped.end()), stamped.end());
    }
    const auto shards = shards_of(tag, stamped);
    return shards && are_current(*shards);
}

std::optional<std::vector<std::size_t>> TagGeneration::shards_of(const Tag& tag,
                                                                 const std::vector<std::size_t>& stamped) const {
    std::vector<std::size_t> shards;
    shards.reserve(stamped.size());
    for (const std::size_t index : stamped) {
        const std::string& name = tag.stamped_files()[index];
        const auto at = std::lower_bound(shards_.names.begin(), shards_.names.end(), name);
        if (at == shards_.names.end() || *at != name) {
            return std::nullopt;
        }
        shards.push_back(static_cast<std::size_t>(at - shards_.names.begin()));
    }
    return shards;
}

std::optional<bool> TagGeneration::is_last_save() const {
    std::vector<std::size_t> telling;
    {
        const std::unique_lock reading(read_mutex_, std::try_to_lock);
        if (!reading.owns_lock() || !telling_) {
            return std::nullopt;
        }
        telling = *telling_;
    }
    return shards_.names.size() <= looked_at_whole ? is_current() : are_current(telling);
}

bool TagGeneration::unload() {
    std::shared_ptr<const Tag> released;  // destroyed after the lock
    if (is_being_read_) {
        return false;
    }
    {
        const std::unique_lock reading(read_mutex_, std::try_to_lock);
        if (!reading.owns_lock()) {
            return false;
        }
        released.swap(tag_);
    }
    bool unloaded = true;
    const std::lock_guard lock(files_mutex_);
    for (const auto& [name, known] : files_) {
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
    tree_->known_tags().note_loaded(shared_from_this());
    if (tag_->problem() == nullptr && read_from_these_shards(*tag_)) {
        const auto before = tree_->known_tags().last_save(path_);
        if (auto problem = before ? before->partly_replaced_in(*tag_) : std::nullopt) {
            tag_ = std::make_shared<RefusedTag>(*tag_, *std::move(problem));
        } else {
            tree_->known_tags().note_save(path_, *tag_);
        }
    }
    if (const Error* problem = tag_->problem()) {
        constexpr std::array passing{ErrorCode::io, ErrorCode::stale, ErrorCode::not_found};
        worth_another_read_ = std::find(passing.begin(), passing.end(), problem->code()) != passing.end();
    }
    last_tag_ = tag_;
    telling_ = shards_of(*tag_, tag_->in_every_save());
    tree_->known_tags().note_read(tag_);
}

std::shared_ptr<const TagFiles> TagGeneration::files_for(const ViewRequest& request,
                                                         const std::shared_ptr<SourceDirectory>& directory) {
    const std::lock_guard lock(files_mutex_);
    std::erase_if(files_, [](const auto& item) { return item.second.expired(); });
    auto& known = files_[request.name()];
    auto files = known.lock();
    if (!files) {
        files = std::make_shared<const TagFiles>(directory, shared_from_this(), request);
        known = files;
    }
    return files;
}

}  // namespace ckptfs
