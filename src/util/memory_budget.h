// Memory that is counted while it is held, so that hostile or huge input is refused rather than ending the process.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace ckptfs {

/// How many bytes may be held by all who ask. Safe for concurrent use; outlives what is held.
class MemoryBudget {
 public:
    /// `limit` is asked each time, as cgroups change while a process lives.
    explicit MemoryBudget(std::function<std::uint64_t()> limit) : limit_(std::move(limit)) {}

    /// A quarter of memory_limit(): the rest is for what is built from trees, and for everything else.
    static MemoryBudget& of_process();

    [[nodiscard]] std::uint64_t limit() const { return limit_(); }
    [[nodiscard]] std::uint64_t held() const { return held_; }

 private:
    friend class MemoryReservation;
    std::function<std::uint64_t()> limit_;
    std::atomic<std::uint64_t> held_ = 0;
};

/// A part of a budget. Not thread-safe.
class MemoryReservation {
 public:
    MemoryReservation() = default;
    explicit MemoryReservation(MemoryBudget& budget) : budget_(&budget) {}
    MemoryReservation(MemoryReservation&& other) noexcept;
    MemoryReservation& operator=(MemoryReservation&& other) noexcept;
    MemoryReservation(const MemoryReservation&) = delete;
    MemoryReservation& operator=(const MemoryReservation&) = delete;
    ~MemoryReservation();

    /// False, and nothing changes, where it would grow beyond what the budget has left.
    bool resize(std::uint64_t nbytes);

 private:
    MemoryBudget* budget_ = nullptr;
    std::uint64_t nbytes_ = 0;
};

}  // namespace ckptfs
