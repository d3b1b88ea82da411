// Least recently used goes first.
#include "view/file_cache.h"

namespace ckptfs::view {

std::shared_ptr<const VirtualFile> FileCache::find(std::size_t index) {
    const std::lock_guard lock(mutex_);
    const auto found = by_index_.find(index);
    if (found == by_index_.end()) {
        return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->file;
}

void FileCache::insert(std::size_t index, std::shared_ptr<const VirtualFile> file) {
    const std::lock_guard lock(mutex_);
    if (by_index_.contains(index)) {
        return;  // two readers built it at once; one is enough
    }
    nbytes_ += file->memory_nbytes();
    entries_.push_front({index, std::move(file)});
    by_index_[index] = entries_.begin();
    while (nbytes_ > budget_nbytes && entries_.size() > 1) {
        nbytes_ -= entries_.back().file->memory_nbytes();
        by_index_.erase(entries_.back().index);
        entries_.pop_back();
    }
}

}  // namespace ckptfs::view
