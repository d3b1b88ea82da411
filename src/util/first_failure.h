// Of what several threads have failed at, the one with the lowest number: what one thread would have met first.
#pragma once

#include <cstddef>
#include <limits>
#include <mutex>

#include "ckptfs/result.h"

namespace ckptfs {

/// For the bodies of for_each_in_parallel(). Safe for concurrent use.
class FirstFailure {
 public:
    /// Whether `result` is none.
    bool note(std::size_t number, const Result<void>& result) {
        if (result.ok()) {
            return true;
        }
        const std::lock_guard lock(mutex_);
        if (number < number_) {
            number_ = number;
            failure_ = result;
        }
        return false;
    }
    /// Once all threads have ended.
    [[nodiscard]] const Result<void>& result() const { return failure_; }

 private:
    std::mutex mutex_;
    std::size_t number_ = std::numeric_limits<std::size_t>::max();
    Result<void> failure_;
};

}  // namespace ckptfs
