// Reads are taken by number; the last one done wakes those who wait.
#include "stream/block.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace ckptfs {

Block::Block(std::shared_ptr<const File> file, std::uint64_t offset, std::uint64_t nbytes,
             std::shared_ptr<std::byte> memory, std::vector<std::uint64_t> cuts, const Clock& now)
    : file_(std::move(file)),
      offset_(offset),
      nbytes_(nbytes),
      memory_(std::move(memory)),
      cuts_(std::move(cuts)),
      now_(now) {}

void Block::help() {
    help(false);
}

void Block::help(bool is_needed) {
    while (is_needed || !is_abandoned_) {
        const std::size_t number = next_++;
        if (number >= reads()) {
            return;
        }
        read(number);
    }
}

void Block::read(std::size_t number) {
    const std::uint64_t begin = number == 0 ? offset_ : cuts_[number - 1];
    const std::uint64_t until = number == cuts_.size() ? end() : cuts_[number];
    const auto start = now_();
    bool is_read = false;
    try {
        is_read = file_->read(begin, {memory_.get() + (begin - offset_), static_cast<std::size_t>(until - begin)}).ok();
    } catch (const std::exception&) {
        is_read = false;  // thrown once more to whoever reads it again
    }
    const auto taken = std::chrono::nanoseconds(now_() - start).count();
    const std::lock_guard lock(mutex_);
    slowest_ns_ = std::max<std::int64_t>(slowest_ns_, taken);
    has_failed_ = has_failed_ || !is_read;
    if (++done_ == reads()) {
        changed_.notify_all();
    }
}

bool Block::wait() {
    help(true);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_ == reads(); });
    return !has_failed_;
}

}  // namespace ckptfs
