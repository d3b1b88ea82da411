// A stack of free blocks.
#include "stream/block_memory.h"

#include <sys/mman.h>

#include <algorithm>

namespace ckptfs {
namespace {

/// Of the system itself: what the allocator is given back stays with the process as often as not. nullptr: none.
std::byte* map_block() {
    void* const memory =
        ::mmap(nullptr, stream_block_nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

void unmap_block(std::byte* block) {
    ::munmap(block, stream_block_nbytes);
}

}  // namespace

BlockMemory::~BlockMemory() {
    std::for_each(kept_.begin(), kept_.end(), unmap_block);
}

std::shared_ptr<std::byte> BlockMemory::take() {
    std::byte* block = nullptr;
    {
        const std::lock_guard lock(mutex_);
        if (!kept_.empty()) {
            block = kept_.back();
            kept_.pop_back();
            fewest_kept_ = std::min(fewest_kept_, kept_.size());
        } else {
            if (count_ == most_ || !held_.resize_if_free((count_ + 1) * stream_block_nbytes)) {
                return nullptr;
            }
            kept_.reserve(count_ + 1);  // so that giving back cannot fail
            block = map_block();
            if (block == nullptr) {
                held_.resize_if_free(count_ * stream_block_nbytes);
                return nullptr;
            }
            ++count_;
        }
    }
    return {block, [memory = shared_from_this()](std::byte* unused) { memory->give_back(unused); }};
}

void BlockMemory::give_back(std::byte* block) noexcept {
    const std::lock_guard lock(mutex_);
    kept_.push_back(block);
}

void BlockMemory::release_unused() {
    std::vector<std::byte*> unused;
    {
        const std::lock_guard lock(mutex_);
        // At the bottom of the stack lie those that were not needed.
        const auto end = kept_.begin() + static_cast<std::ptrdiff_t>(std::min(fewest_kept_, kept_.size()));
        unused.assign(kept_.begin(), end);
        kept_.erase(kept_.begin(), end);
        count_ -= unused.size();
        held_.resize_if_free(count_ * stream_block_nbytes);
        fewest_kept_ = kept_.size();
    }
    std::for_each(unused.begin(), unused.end(), unmap_block);
}

void BlockMemory::release_kept() {
    std::vector<std::byte*> kept;
    {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock()) {
            return;
        }
        kept.swap(kept_);
        count_ -= kept.size();
        held_.resize_if_free(count_ * stream_block_nbytes);
        kept_.reserve(count_);
        fewest_kept_ = 0;
    }
    std::for_each(kept.begin(), kept.end(), unmap_block);
}

std::uint64_t BlockMemory::held_nbytes() const {
    const std::lock_guard lock(mutex_);
    return count_ * stream_block_nbytes;
}

}  // namespace ckptfs
