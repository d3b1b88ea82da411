// A bounded set of open descriptors; where it is full, chance decides which one makes room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <unordered_map>
#include <vector>

#include "io/unique_fd.h"

namespace ckptfs::io {

using SharedFd = std::shared_ptr<const UniqueFd>;

/// Descriptors by the number of the file that they belong to. One that leaves the pool while a thread reads from it
/// stays open until that thread lets go. Safe for concurrent use.
///
/// Files are read in turn, over and over: each of a few more than there is room for would be the one that was used
/// longest ago just before it is read again, and every read an opening. Where chance chooses, those beyond the room
/// cost openings, and the others keep theirs.
class DescriptorPool {
 public:
    /// Keeps at most `capacity` (at least 1) descriptors.
    explicit DescriptorPool(std::size_t capacity);

    /// nullptr if there is none.
    [[nodiscard]] SharedFd find(std::uint64_t file);
    /// Keeps `fd` for `file`. If another thread was faster, answers that thread's descriptor.
    SharedFd insert(std::uint64_t file, SharedFd fd);
    void erase(std::uint64_t file);
    void clear();
    /// Closes those that were neither found nor inserted since the last call.
    void close_unused();

    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::size_t capacity() const { return capacity_; }

 private:
    struct Entry {
        std::uint64_t file = 0;
        SharedFd fd;
        std::uint64_t round = 0;  ///< in which it was used last
    };
    // What is removed is the caller's to close, outside the lock.
    SharedFd remove(std::size_t at);

    const std::size_t capacity_;
    mutable std::mutex mutex_;
    std::vector<Entry> entries_;
    std::unordered_map<std::uint64_t, std::size_t> index_;  // of entries_, by file
    std::uint64_t round_ = 0;                               // from one close_unused() to the next
    std::minstd_rand chance_;                               // the same in every run
};

}  // namespace ckptfs::io
