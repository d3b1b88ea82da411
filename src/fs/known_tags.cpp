// A look at what is remembered of tags, a few at a time.
#include "fs/known_tags.h"

#include <algorithm>
#include <utility>

#include "fs/tag_generation.h"

namespace ckptfs {
namespace {

/// Tags that one call of forget_removed() looks at.
constexpr std::size_t most_looks = 16;
/// Every how many calls that looks at tags, at least.
constexpr unsigned rarest_look = 32;

}  // namespace

KnownTags::KnownTags(const Source& source) : source_(source) {}

std::shared_ptr<const SavedFiles> KnownTags::last_save(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = last_saves_.find(path);
    return found == last_saves_.end() ? nullptr : found->second;
}

void KnownTags::note_save(const std::string& path, const Tag& tag) {
    auto files = std::make_shared<const SavedFiles>(tag);
    const std::lock_guard lock(mutex_);
    last_saves_.insert_or_assign(path, std::move(files));
}

void KnownTags::forget_save(const std::string& path) {
    const std::lock_guard lock(mutex_);
    last_saves_.erase(path);
}

void KnownTags::note_loaded(const std::shared_ptr<TagGeneration>& generation) {
    ++generations_read_;
    const std::lock_guard lock(mutex_);
    loaded_.insert(generation);
}

std::vector<std::shared_ptr<TagGeneration>> KnownTags::loaded() const {
    std::vector<std::shared_ptr<TagGeneration>> result;
    const std::lock_guard lock(mutex_);
    for (const auto& known : loaded_) {
        if (auto generation = known.lock()) {
            result.push_back(std::move(generation));
        }
    }
    return result;
}

bool KnownTags::is_loaded(const std::weak_ptr<TagGeneration>& generation) const {
    const std::lock_guard lock(mutex_);
    return loaded_.contains(generation);
}

bool KnownTags::forget_removed(bool is_in_use) {
    idle_calls_ = used_.exchange(false) ? 0 : idle_calls_ + 1;
    if (idle_calls_ % idle_calls_until_let_go == idle_calls_until_let_go - 1 && !is_in_use) {
        return let_go();
    }
    const bool is_power_of_2 = (idle_calls_ & (idle_calls_ - 1)) == 0;  // or 0
    if (!is_power_of_2 && idle_calls_ % rarest_look != 0) {
        return false;
    }
    bool has_let_go = false;
    for (const auto& generation : loaded_to_look_at()) {
        if (is_gone(generation->path())) {
            has_let_go = forget(generation) || has_let_go;
        }
    }
    forget_saves_of_removed();
    return has_let_go;
}

std::vector<std::shared_ptr<TagGeneration>> KnownTags::loaded_to_look_at() {
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

bool KnownTags::is_gone(const std::string& path) const {
    const auto info = source_.stat_target(path);
    return !info && (info.error().code() == ErrorCode::not_found || info.error().code() == ErrorCode::stale);
}

bool KnownTags::let_go() {
    Loaded loaded;
    {
        const std::lock_guard lock(mutex_);
        loaded.swap(loaded_);
    }
    bool has_let_go = false;
    for (const auto& known : loaded) {
        const auto generation = known.lock();
        if (!generation) {
            continue;
        }
        if (generation->unload()) {
            has_let_go = true;
        } else {
            note_kept(generation);
        }
    }
    return has_let_go;
}

void KnownTags::note_kept(const std::shared_ptr<TagGeneration>& generation) {
    const std::lock_guard lock(mutex_);
    loaded_.insert(generation);
}

bool KnownTags::forget(const std::shared_ptr<TagGeneration>& generation) {
    {
        const std::lock_guard lock(mutex_);
        loaded_.erase(generation);  // before it is unloaded: it may be read again at once
    }
    if (!generation->unload()) {
        note_kept(generation);
        return false;
    }
    const std::lock_guard lock(mutex_);
    last_saves_.erase(generation->path());
    return true;
}

// Those of tags that are no longer in memory are looked at when there are twice as many as were left the last time.
void KnownTags::forget_saves_of_removed() {
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

void KnownTags::note_read(const std::shared_ptr<const Tag>& tag) {
    const std::lock_guard lock(mutex_);
    std::erase_if(unasked_, [](const auto& unasked) { return unasked.expired(); });
    unasked_.insert(tag);
}

std::vector<std::string> KnownTags::suggestions() {
    std::vector<std::shared_ptr<const Tag>> unasked;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& tag : unasked_) {
            if (auto kept = tag.lock()) {
                unasked.push_back(std::move(kept));
            }
        }
        unasked_.clear();
    }
    std::set<std::string> names;
    for (const auto& tag : unasked) {
        for (const ViewRequest& request : tag->suggestions()) {
            names.insert(request.name());
        }
    }
    const std::lock_guard lock(mutex_);
    suggestions_.merge(names);
    return {suggestions_.begin(), suggestions_.end()};
}

}  // namespace ckptfs
