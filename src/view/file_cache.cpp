// A list in the order of use: when the budget is exceeded, the file that was used longest ago is dropped.
#include "view/file_cache.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace ckptfs::view {

std::shared_ptr<const File> FileCache::find(const View* view, std::size_t index) {
    const std::lock_guard lock(mutex_);
    return find_held({view, index});
}

std::shared_ptr<const File> FileCache::find_held(const Key& key) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return found->second->file;
    }
    const auto found = living_.find(key);
    return found == living_.end() ? nullptr : found->second.lock();
}

std::shared_ptr<const File> FileCache::insert(const View* view, std::size_t index, std::shared_ptr<const File> file,
                                              std::uint64_t memory_nbytes) {
    std::vector<std::shared_ptr<const File>> dropped;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    const Key key{view, index};
    if (auto faster = find_held(key)) {
        return faster;
    }
    nbytes_ += memory_nbytes;
    entries_.push_front({key, file, memory_nbytes});
    by_key_[key] = entries_.begin();
    living_.erase(key);
    while (nbytes_ > budget_nbytes && entries_.size() > 1) {
        const auto last = std::prev(entries_.end());
        living_[last->key] = last->file;
        dropped.push_back(last->file);
        erase(last);
    }
    if (living_.size() >= purge_at_) {
        std::erase_if(living_, [](const auto& item) { return item.second.expired(); });
        purge_at_ = std::max<std::size_t>(64, 2 * living_.size());
    }
    return file;
}

void FileCache::forget(const View* view) {
    const std::lock_guard lock(mutex_);
    for (auto at = by_key_.lower_bound({view, 0}); at != by_key_.end() && at->first.first == view;) {
        const auto entry = at->second;
        ++at;
        erase(entry);
    }
    living_.erase(living_.lower_bound({view, 0}), living_.upper_bound({view, std::numeric_limits<std::size_t>::max()}));
}

void FileCache::erase(std::list<Entry>::iterator entry) {
    nbytes_ -= entry->memory_nbytes;
    by_key_.erase(entry->key);
    entries_.erase(entry);
}

}  // namespace ckptfs::view
