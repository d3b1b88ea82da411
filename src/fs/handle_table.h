// Open files and directories by number: a number that was never given out is an answer, not a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

namespace ckptfs {

/// Safe for concurrent use. Numbers are not used twice.
template <class T>
class HandleTable {
 public:
    std::uint64_t insert(std::shared_ptr<T> opened) {
        const std::lock_guard lock(mutex_);
        const auto handle = next_++;
        opened_.emplace(handle, std::move(opened));
        return handle;
    }

    /// nullptr if there is none.
    [[nodiscard]] std::shared_ptr<T> find(std::uint64_t handle) const {
        const std::shared_lock lock(mutex_);
        const auto at = opened_.find(handle);
        return at == opened_.end() ? nullptr : at->second;
    }

    [[nodiscard]] std::size_t size() const {
        const std::shared_lock lock(mutex_);
        return opened_.size();
    }

    void erase(std::uint64_t handle) {
        std::shared_ptr<T> released;  // destroyed after the lock
        const std::lock_guard lock(mutex_);
        if (const auto at = opened_.find(handle); at != opened_.end()) {
            released = std::move(at->second);
            opened_.erase(at);
        }
    }

 private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<std::uint64_t, std::shared_ptr<T>> opened_;
    std::uint64_t next_ = 1;
};

}  // namespace ckptfs
