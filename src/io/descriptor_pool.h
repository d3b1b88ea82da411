// A bounded set of open descriptors, least recently used first out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "io/unique_fd.h"

namespace ckptfs::io {

using SharedFd = std::shared_ptr<const UniqueFd>;

/// Descriptors by the number of the file that they belong to. One that leaves the pool while a thread reads from it
/// stays open until that thread lets go. Safe for concurrent use.
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
        std::uint64_t file;
        SharedFd fd;
        std::uint64_t round;  ///< in which it was used last
    };

    const std::size_t capacity_;
    mutable std::mutex mutex_;
    std::list<Entry> entries_;  // most recently used first
    std::uint64_t round_ = 0;   // from one close_unused() to the next
    std::unordered_map<std::uint64_t, std::list<Entry>::iterator> index_;
};

}  // namespace ckptfs::io
