// All segments of a plan's files in the order in which threads take them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "export/plan.h"
#include "export/segment_copier.h"
#include "export/segments.h"
#include "util/parallel.h"

namespace ckptfs::exporting {

/// One segment; of a file that has none left to copy, only what comes after.
struct WorkItem {
    std::size_t file = 0;  ///< its number in the plan
    std::optional<std::uint64_t> segment;

    bool operator==(const WorkItem&) const = default;
};

/// What is left to do. Up to `abreast` files are in work at a time, large ones first, and take turns: threads that
/// write to one file wait for each other.
[[nodiscard]] std::vector<WorkItem> work_order(const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished,
                                               std::size_t abreast);

/// How many items each file has.
[[nodiscard]] std::map<std::size_t, std::size_t> count_by_file(const std::vector<WorkItem>& items);

/// The first failure of several threads; one that is only an interruption gives way to any other. Safe for concurrent
/// use.
class FirstGraveFailure {
 public:
    void note(const Error& error) {
        const std::lock_guard lock(mutex_);
        if (!error_ || is_interruption(*error_)) {
            error_ = error;
        }
    }
    [[nodiscard]] Result<void> result() const { return error_ ? Result<void>(*error_) : Result<void>(); }

 private:
    std::mutex mutex_;
    std::optional<Error> error_;
};

/// Calls `body` for each item, by up to `jobs` threads, with something that `make` made and no other thread has. Ends
/// after the first failure, which it returns.
template <class OfThread>
Result<void> for_each_item(const std::vector<WorkItem>& items, std::size_t jobs,
                           const std::function<std::unique_ptr<OfThread>()>& make,
                           const std::function<Result<void>(const WorkItem&, OfThread&)>& body) {
    FirstGraveFailure failure;
    std::mutex mutex;
    std::vector<std::unique_ptr<OfThread>> idle;
    const auto take = [&] {
        const std::lock_guard lock(mutex);
        if (idle.empty()) {
            return make();
        }
        auto taken = std::move(idle.back());
        idle.pop_back();
        return taken;
    };
    for_each_in_parallel(items.size(), jobs, [&](std::size_t index) {
        auto own = take();
        const auto done = body(items[index], *own);
        if (!done) {
            failure.note(done.error());
        }
        const std::lock_guard lock(mutex);
        idle.push_back(std::move(own));
        return done.ok();
    });
    return failure.result();
}

}  // namespace ckptfs::exporting
