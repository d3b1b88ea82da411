// Counting what is reserved, in one number that threads share.
#include "util/memory_budget.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <utility>

#include "util/machine_limits.h"

namespace ckptfs {
namespace {

/// What was asked for, or a quarter of memory_limit(), which is looked up at most once a second: thousands of small
/// files are read at once.
class ProcessLimit {
 public:
    void set(std::uint64_t nbytes) { asked_for_ = nbytes; }
    [[nodiscard]] bool is_asked_for() const { return asked_for_ != 0; }

    std::uint64_t operator()() {
        constexpr std::uint64_t share = 4;
        if (const std::uint64_t asked_for = asked_for_) {
            return asked_for;
        }
        const std::lock_guard lock(mutex_);
        const auto now = std::chrono::steady_clock::now();
        if (limit_ == 0 || now - looked_up_ > std::chrono::seconds(1)) {
            limit_ = memory_limit() / share;
            looked_up_ = now;
        }
        return limit_;
    }

 private:
    std::atomic<std::uint64_t> asked_for_ = 0;
    std::mutex mutex_;
    std::uint64_t limit_ = 0;
    std::chrono::steady_clock::time_point looked_up_;
};

ProcessLimit& process_limit() {
    static ProcessLimit limit;
    return limit;
}

}  // namespace

MemoryBudget& MemoryBudget::of_process() {
    static MemoryBudget budget([] { return process_limit()(); });
    return budget;
}

void MemoryBudget::limit_process(std::uint64_t nbytes) {
    process_limit().set(nbytes);
}

const char* MemoryBudget::how_to_raise_limit() {
    return process_limit().is_asked_for() ? "(--memory): give it more"
                                          : "(a quarter of the memory that this process may use): give it more";
}

bool MemoryBudget::take(std::uint64_t nbytes) {
    const std::uint64_t most = limit();
    std::uint64_t held = held_;
    do {
        if (nbytes > most || held > most - nbytes) {
            return false;
        }
    } while (!held_.compare_exchange_weak(held, held + nbytes));
    return true;
}

void MemoryBudget::reclaim() {
    const std::lock_guard lock(reclaimers_mutex_);
    for (const auto& let_go : reclaimers_) {
        let_go();
    }
}

MemoryReclaimer::MemoryReclaimer(MemoryBudget& budget, std::function<void()> let_go) : budget_(budget) {
    const std::lock_guard lock(budget_.reclaimers_mutex_);
    place_ = budget_.reclaimers_.insert(budget_.reclaimers_.end(), std::move(let_go));
}

MemoryReclaimer::~MemoryReclaimer() {
    const std::lock_guard lock(budget_.reclaimers_mutex_);
    budget_.reclaimers_.erase(place_);
}

MemoryReservation::MemoryReservation(MemoryReservation&& other) noexcept
    : budget_(std::exchange(other.budget_, nullptr)), nbytes_(std::exchange(other.nbytes_, 0)) {}

MemoryReservation& MemoryReservation::operator=(MemoryReservation&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(nbytes_, other.nbytes_);
    return *this;
}

MemoryReservation::~MemoryReservation() {
    if (budget_ != nullptr) {
        budget_->held_ -= nbytes_;
    }
}

bool MemoryReservation::resize(std::uint64_t nbytes) {
    if (resize_if_free(nbytes)) {
        return true;
    }
    if (budget_ == nullptr || nbytes - nbytes_ > budget_->limit()) {
        return false;
    }
    budget_->reclaim();
    return resize_if_free(nbytes);
}

bool MemoryReservation::resize_if_free(std::uint64_t nbytes) {
    if (budget_ == nullptr) {
        return nbytes == 0;
    }
    if (nbytes <= nbytes_) {
        budget_->held_ -= nbytes_ - nbytes;
    } else if (!budget_->take(nbytes - nbytes_)) {
        return false;
    }
    nbytes_ = nbytes;
    return true;
}

}  // namespace ckptfs
