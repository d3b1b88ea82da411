// Least recently used goes first.
#include "view/file_cache.h"

namespace ckptfs::view {

std::shared_ptr<const VirtualFile> FileCache::find(const View* view, std::size_t index) {
    const std::lock_guard lock(mutex_);
    const auto found = by_key_.find({view, index});
    if (found == by_key_.end()) {
        return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->file;
}

void FileCache::insert(const View* view, std::size_t index, std::shared_ptr<const VirtualFile> file) {
    const std::lock_guard lock(mutex_);
    const Key key{view, index};
    if (by_key_.contains(key)) {
        return;  // two readers built it at once; one is enough
    }
    nbytes_ += file->memory_nbytes();
    entries_.push_front({key, std::move(file)});
    by_key_[key] = entries_.begin();
    while (nbytes_ > budget_nbytes && entries_.size() > 1) {
        erase(std::prev(entries_.end()));
    }
}

void FileCache::forget(const View* view) {
    const std::lock_guard lock(mutex_);
    for (auto at = by_key_.lower_bound({view, 0}); at != by_key_.end() && at->first.first == view;) {
        const auto entry = at->second;
        ++at;
        erase(entry);
    }
}

void FileCache::erase(std::list<Entry>::iterator entry) {
    nbytes_ -= entry->file->memory_nbytes();
    by_key_.erase(entry->key);
    entries_.erase(entry);
}

}  // namespace ckptfs::view
