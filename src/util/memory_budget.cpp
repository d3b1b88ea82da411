// Counting what is reserved, in one number that threads share.
#include "util/memory_budget.h"

#include <chrono>
#include <mutex>
#include <utility>

#include "util/memory_limit.h"

namespace ckptfs {

namespace {

/// A quarter of memory_limit(), looked up at most once a second: thousands of small files are read at once.
class ProcessLimit {
 public:
    std::uint64_t operator()() {
        constexpr std::uint64_t share = 4;
        const std::lock_guard lock(mutex_);
        const auto now = std::chrono::steady_clock::now();
        if (limit_ == 0 || now - looked_up_ > std::chrono::seconds(1)) {
            limit_ = memory_limit() / share;
            looked_up_ = now;
        }
        return limit_;
    }

 private:
    std::mutex mutex_;
    std::uint64_t limit_ = 0;
    std::chrono::steady_clock::time_point looked_up_;
};

}  // namespace

MemoryBudget& MemoryBudget::of_process() {
    static ProcessLimit limit;
    static MemoryBudget budget([] { return limit(); });
    return budget;
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
    if (budget_ == nullptr) {
        return nbytes == 0;
    }
    if (nbytes <= nbytes_) {
        budget_->held_ -= nbytes_ - nbytes;
        nbytes_ = nbytes;
        return true;
    }
    const std::uint64_t more = nbytes - nbytes_;
    const std::uint64_t limit = budget_->limit();
    std::uint64_t held = budget_->held_;
    do {
        if (more > limit || held > limit - more) {
            return false;
        }
    } while (!budget_->held_.compare_exchange_weak(held, held + more));
    nbytes_ = nbytes;
    return true;
}

}  // namespace ckptfs
