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
    Entry& entry = entries_[found->second];
    entry.round = round_;
    return entry.fd;
}

SharedFd DescriptorPool::insert(std::uint64_t file, SharedFd fd) {
    SharedFd evicted;
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(file);
    if (found != index_.end()) {
        evicted = std::move(fd);
        return entries_[found->second].fd;
    }
    if (entries_.size() == capacity_) {
        evicted = remove(std::uniform_int_distribution<std::size_t>(0, capacity_ - 1)(chance_));
    }
    index_.emplace(file, entries_.size());
    entries_.push_back({file, fd, round_});
    return fd;
}

void DescriptorPool::erase(std::uint64_t file) {
    SharedFd evicted;
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(file);
    if (found != index_.end()) {
        evicted = remove(found->second);
    }
}

SharedFd DescriptorPool::remove(std::size_t at) {
    index_.erase(entries_[at].file);
    std::swap(entries_[at], entries_.back());
    SharedFd removed = std::move(entries_.back().fd);
    entries_.pop_back();
    if (at < entries_.size()) {
        index_[entries_[at].file] = at;
    }
    return removed;
}

void DescriptorPool::clear() {
    std::vector<Entry> evicted;
    const std::lock_guard lock(mutex_);
    index_.clear();
    evicted.swap(entries_);
}

void DescriptorPool::close_unused() {
    std::vector<SharedFd> evicted;
    const std::lock_guard lock(mutex_);
    for (std::size_t at = entries_.size(); at-- > 0;) {
        if (entries_[at].round != round_) {
            evicted.push_back(remove(at));
        }
    }
    ++round_;
}

std::size_t DescriptorPool::size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

}  // namespace ckptfs::io
