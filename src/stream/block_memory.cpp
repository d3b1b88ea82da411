// A stack of free blocks.
#include "stream/block_memory.h"

#include <algorithm>
#include <cstdlib>

namespace ckptfs {
namespace {

constexpr std::size_t page_nbytes = 4096;

}  // namespace

BlockMemory::~BlockMemory() {
    std::for_each(kept_.begin(), kept_.end(), [](std::byte* block) { std::free(block); });
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
            if (count_ == most_) {
                return nullptr;
            }
            kept_.reserve(count_ + 1);  // so that giving back cannot fail
            block = static_cast<std::byte*>(std::aligned_alloc(page_nbytes, stream_block_nbytes));
            if (block == nullptr) {
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
        fewest_kept_ = kept_.size();
    }
    std::for_each(unused.begin(), unused.end(), [](std::byte* block) { std::free(block); });
}

std::uint64_t BlockMemory::held_nbytes() const {
    const std::lock_guard lock(mutex_);
    return count_ * stream_block_nbytes;
}

}  // namespace ckptfs
