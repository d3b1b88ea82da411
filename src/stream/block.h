// A run of a file's bytes that is being read, or has been.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs {

/// Read by whoever helps: threads that read ahead, and those that need it. Safe for concurrent use.
class Block {
 public:
    using Clock = std::function<std::chrono::steady_clock::time_point()>;

    /// `nbytes` of `file` from `offset` on, read into `memory`. `cuts`: offsets in the file at which one read ends and
    /// the next begins, all of which can be made at the same time; ascending, strictly inside. `now` is referred to.
    Block(std::shared_ptr<const File> file, std::uint64_t offset, std::uint64_t nbytes,
          std::shared_ptr<std::byte> memory, std::vector<std::uint64_t> cuts, const Clock& now);

    [[nodiscard]] std::uint64_t offset() const { return offset_; }
    [[nodiscard]] std::uint64_t end() const { return offset_ + nbytes_; }
    [[nodiscard]] std::size_t reads() const { return cuts_.size() + 1; }

    /// Makes the reads that nobody has begun, one by one, unless the block is no longer wanted.
    void help();
    /// Nobody will ask for it. Reads that have begun end; whoever waits for it still gets it.
    void abandon() { is_abandoned_ = true; }
    /// Helps, and waits for the others. False where some of the bytes could not be read, for whatever reason: whoever
    /// needs any of them reads these, and learns that.
    [[nodiscard]] bool wait();

    /// Once wait() has succeeded: the bytes from `from` to `to`, offsets in the file within the block.
    [[nodiscard]] std::span<const std::byte> bytes(std::uint64_t from, std::uint64_t to) const {
        return {memory_.get() + (from - offset_), static_cast<std::size_t>(to - from)};
    }
    /// Keeps them; in no other way than that.
    [[nodiscard]] std::shared_ptr<const void> holder() const { return memory_; }
    /// How long the slowest of the reads took, once wait() has succeeded.
    [[nodiscard]] std::chrono::nanoseconds slowest_read() const { return std::chrono::nanoseconds(slowest_ns_); }

 private:
    void help(bool is_needed);
    void read(std::size_t number);

    const std::shared_ptr<const File> file_;
    const std::uint64_t offset_;
    const std::uint64_t nbytes_;
    const std::shared_ptr<std::byte> memory_;
    const std::vector<std::uint64_t> cuts_;
    const Clock& now_;
    std::atomic<bool> is_abandoned_ = false;
    std::atomic<std::size_t> next_ = 0;
    std::atomic<std::int64_t> slowest_ns_ = 0;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t done_ = 0;
    bool has_failed_ = false;
};

}  // namespace ckptfs
