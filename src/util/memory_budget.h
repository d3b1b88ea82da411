// Memory that is counted while it is held, so that hostile or huge input is refused rather than ending the process.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <utility>

namespace ckptfs {

/// How many bytes may be held by all who ask. Safe for concurrent use; outlives what is held.
class MemoryBudget {
 public:
    /// `limit` is asked each time, as cgroups change while a process lives.
    explicit MemoryBudget(std::function<std::uint64_t()> limit) : limit_(std::move(limit)) {}

    /// A quarter of memory_limit(), unless limit_process() was called: the rest is for everything that is not counted.
    static MemoryBudget& of_process();
    /// What of_process() has from now on, bytes; 0: a quarter again.
    static void limit_process(std::uint64_t nbytes);
    /// For messages about of_process(): what sets its limit, and what to do, as a user would say it.
    [[nodiscard]] static const char* how_to_raise_limit();

    [[nodiscard]] std::uint64_t limit() const { return limit_(); }
    [[nodiscard]] std::uint64_t held() const { return held_; }

 private:
    friend class MemoryReservation;
    friend class MemoryReclaimer;

    /// Whether `nbytes` more are held now.
    [[nodiscard]] bool take(std::uint64_t nbytes);
    /// Asks all who keep something to let go of it.
    void reclaim();

    std::function<std::uint64_t()> limit_;
    std::atomic<std::uint64_t> held_ = 0;
    std::mutex reclaimers_mutex_;
    std::list<std::function<void()>> reclaimers_;
};

/// Somebody who keeps what can be made again: asked to let go of it before a reservation is refused. While it lives.
class MemoryReclaimer {
 public:
    /// `let_go` is called by whoever reserves, with whatever locks that thread holds: it may wait for such locks only
    /// as nobody reserves under, and it may not reserve.
    MemoryReclaimer(MemoryBudget& budget, std::function<void()> let_go);
    MemoryReclaimer(const MemoryReclaimer&) = delete;
    MemoryReclaimer& operator=(const MemoryReclaimer&) = delete;
    /// Returns when no call of `let_go` is running any more.
    ~MemoryReclaimer();

 private:
    MemoryBudget& budget_;
    std::list<std::function<void()>>::iterator place_;
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

    /// False, and nothing changes, where it would grow beyond what the budget has left, also when all that can be made
    /// again was let go of.
    bool resize(std::uint64_t nbytes);
    /// The same for what is not worth that: nobody is asked to let go of anything.
    bool resize_if_free(std::uint64_t nbytes);

 private:
    MemoryBudget* budget_ = nullptr;
    std::uint64_t nbytes_ = 0;
};

}  // namespace ckptfs
