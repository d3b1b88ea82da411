// The pool's bookkeeping; descriptors are always closed outside its lock.
#include "io/descriptor_pool.h"

#include <algorithm>
#include <utility>

namespace ckptfs::io {

DescriptorPool::DescriptorPool(std::size_t capacity) : capacity_(std::max<std::size_t>(capacity, 1)) {}

SharedFd DescriptorPool::find(std::uint64_t file) {
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(file);
    if (found == index_.end()) {
        return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    found->second->round = round_;
    return found->second->fd;
}

SharedFd DescriptorPool::insert(std::uint64_t file, SharedFd fd) {
    SharedFd evicted;
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(file);
    if (found != index_.end()) {
        evicted = std::move(fd);
        return found->second->fd;
    }
    entries_.push_front({file, fd, round_});
    index_.emplace(file, entries_.begin());
    if (entries_.size() > capacity_) {
        index_.erase(entries_.back().file);
        evicted = std::move(entries_.back().fd);
        entries_.pop_back();
    }
    return fd;
}

void DescriptorPool::erase(std::uint64_t file) {
    SharedFd evicted;
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(file);
    if (found == index_.end()) {
        return;
    }
    evicted = std::move(found->second->fd);
    entries_.erase(found->second);
    index_.erase(found);
}

void DescriptorPool::clear() {
    std::list<Entry> evicted;
    const std::lock_guard lock(mutex_);
    index_.clear();
    evicted.swap(entries_);
}

void DescriptorPool::close_unused() {
    std::list<Entry> evicted;
    const std::lock_guard lock(mutex_);
    const auto unused =
        std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.round != round_; });
    evicted.splice(evicted.end(), entries_, unused, entries_.end());
    for (const Entry& entry : evicted) {
        index_.erase(entry.file);
    }
    ++round_;
}

std::size_t DescriptorPool::size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

}  // namespace ckptfs::io
