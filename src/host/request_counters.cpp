// Sums of relaxed atomics.
#include "host/request_counters.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

namespace ckptfs {
namespace {

constexpr std::array<std::string_view, operation_count> names{
    "lookup",  "forget",     "getattr",  "setattr",  "readlink",  "open",     "create",          "read",
    "write",   "release",    "flush",    "fsync",    "fallocate", "lseek",    "copy_file_range", "opendir",
    "readdir", "releasedir", "fsyncdir", "statfs",   "mknod",     "mkdir",    "symlink",         "link",
    "unlink",  "rmdir",      "rename",   "getxattr", "listxattr", "setxattr", "removexattr",     "ioctl"};

std::size_t bucket_of(std::chrono::nanoseconds took) {
    const auto us = std::chrono::ceil<std::chrono::microseconds>(took).count();
    // 2^(i-1) < us <= 2^i
    const auto bucket = us <= 1 ? 0 : std::bit_width(static_cast<std::uint64_t>(us) - 1);
    return std::min<std::size_t>(static_cast<std::size_t>(bucket), Latencies::bucket_count - 1);
}

std::uint64_t value(const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
}

}  // namespace

std::string_view name_of(Operation operation) {
    return names.at(static_cast<std::size_t>(operation));
}

double Latencies::upper_bound_s(std::size_t i) {
    constexpr double us = 1e-6;
    return i + 1 < bucket_count ? static_cast<double>(std::uint64_t{1} << i) * us
                                : std::numeric_limits<double>::infinity();
}

double Latencies::quantile_s(double share) const {
    const auto all = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        seen += counts.at(i);
        if (seen > 0 && static_cast<double>(seen) >= share * static_cast<double>(all)) {
            return upper_bound_s(i);
        }
    }
    return 0;
}

std::uint64_t RequestTotals::count() const {
    return std::accumulate(operations.begin(), operations.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const OperationTotals& one) { return sum + one.count; });
}

std::uint64_t RequestTotals::error_count() const {
    return std::accumulate(operations.begin(), operations.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const OperationTotals& one) { return sum + one.errors; });
}

RequestCounters::Shard& RequestCounters::shard() noexcept {
    static std::atomic<std::size_t> next = 0;
    thread_local const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed) % shard_count;
    return shards_[mine];  // NOLINT(cppcoreguidelines-pro-bounds-constant-array-index): below shard_count
}

void RequestCounters::end(Operation operation, const Answer& answer, std::chrono::nanoseconds took) noexcept {
    Shard& shard = this->shard();
    // NOLINTBEGIN(cppcoreguidelines-pro-bounds-constant-array-index): at() may throw
    OperationCounters& counters = shard.operations[static_cast<std::size_t>(operation)];
    add(counters.count, 1);
    add(counters.ns, static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0)));
    add(counters.latencies[bucket_of(took)], 1);
    if (answer.nbytes != 0) {
        add(counters.nbytes, answer.nbytes);
    }
    if (answer.is_handed_over) {
        add(shard.handed_over_nbytes, answer.nbytes);
    }
    if (answer.error != 0) {
        add(counters.errors, 1);
        add(shard.errors[std::min<std::size_t>(static_cast<std::size_t>(answer.error), known_errnos - 1)], 1);
    }
    // NOLINTEND(cppcoreguidelines-pro-bounds-constant-array-index)
    add(shard.ended, 1);
}

RequestTotals RequestCounters::totals() const {
    RequestTotals totals;
    std::uint64_t ended = 0;
    for (const Shard& shard : shards_) {
        ended += value(shard.ended);
        totals.handed_over_nbytes += value(shard.handed_over_nbytes);
        for (std::size_t i = 0; i < operation_count; ++i) {
            const OperationCounters& from = shard.operations.at(i);
            OperationTotals& to = totals.operations.at(i);
            to.count += value(from.count);
            to.errors += value(from.errors);
            to.nbytes += value(from.nbytes);
            to.ns += value(from.ns);
            for (std::size_t bucket = 0; bucket < Latencies::bucket_count; ++bucket) {
                to.latencies.counts.at(bucket) += value(from.latencies.at(bucket));
            }
        }
        for (std::size_t number = 1; number < known_errnos; ++number) {
            if (const auto count = value(shard.errors.at(number)); count > 0) {
                totals.errors[static_cast<int>(number)] += count;
            }
        }
    }
    std::uint64_t begun = 0;  // after what has ended, so that the difference is not below 0
    for (const Shard& shard : shards_) {
        begun += value(shard.begun);
    }
    totals.in_progress = begun > ended ? begun - ended : 0;
    return totals;
}

}  // namespace ckptfs
