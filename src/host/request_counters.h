// What a mount was asked, in numbers that the threads which serve it keep without waiting for each other.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>

namespace ckptfs {

/// Operations as the kernel names them.
enum class Operation : std::uint8_t {
    lookup,
    forget,
    getattr,
    setattr,
    readlink,
    open,
    create,
    read,
    write,
    release,
    flush,
    fsync,
    fallocate,
    lseek,
    copy_file_range,
    opendir,
    readdir,
    releasedir,
    fsyncdir,
    statfs,
    mknod,
    mkdir,
    symlink,
    link,
    unlink,
    rmdir,
    rename,
    getxattr,
    listxattr,
    setxattr,
    removexattr,
    ioctl,
};
inline constexpr std::size_t operation_count = static_cast<std::size_t>(Operation::ioctl) + 1;
[[nodiscard]] std::string_view name_of(Operation operation);

/// What became of one request.
struct Answer {
    int error = 0;                ///< errno, 0: none
    std::uint64_t nbytes = 0;     ///< of data, read or written
    bool is_handed_over = false;  ///< these bytes went from a file to whoever read without having been in this process
};

/// How long requests took: `counts[i]` of them at most 2^i microseconds and longer than the one before, the last one
/// all that took longer.
struct Latencies {
    static constexpr std::size_t bucket_count = 28;

    std::array<std::uint64_t, bucket_count> counts{};

    /// Of bucket `i`; infinite for the last one.
    [[nodiscard]] static double upper_bound_s(std::size_t i);
    /// The upper bound of the bucket that the request is in of which so great a share took no longer. 0 without any.
    [[nodiscard]] double quantile_s(double share) const;
};

struct OperationTotals {
    std::uint64_t count = 0;
    std::uint64_t errors = 0;
    std::uint64_t nbytes = 0;
    std::uint64_t ns = 0;
    Latencies latencies;
};

struct RequestTotals {
    std::array<OperationTotals, operation_count> operations{};
    std::map<int, std::uint64_t> errors;   ///< by errno
    std::uint64_t handed_over_nbytes = 0;  ///< of those that were read
    std::uint64_t in_progress = 0;

    [[nodiscard]] const OperationTotals& of(Operation operation) const {
        return operations.at(static_cast<std::size_t>(operation));
    }
    [[nodiscard]] std::uint64_t count() const;
    [[nodiscard]] std::uint64_t error_count() const;
};

/// Safe for concurrent use: each thread adds to one of a few sets of numbers, which share no cache line, by atomic
/// additions that order nothing.
class RequestCounters {
 public:
    RequestCounters() = default;
    RequestCounters(const RequestCounters&) = delete;
    RequestCounters& operator=(const RequestCounters&) = delete;

    /// By the thread that is going to call end().
    void begin() noexcept { add(shard().begun, 1); }
    void end(Operation operation, const Answer& answer, std::chrono::nanoseconds took) noexcept;

    /// A request that ends meanwhile may be in some of the numbers and not yet in others.
    [[nodiscard]] RequestTotals totals() const;

 private:
    using Counter = std::atomic<std::uint64_t>;
    static constexpr std::size_t shard_count = 16;
    static constexpr std::size_t known_errnos = 134;  // those of Linux; what is greater counts as the last one
    static constexpr std::size_t cache_line = 64;

    struct OperationCounters {
        Counter count = 0;
        Counter nbytes = 0;
        Counter ns = 0;
        Counter errors = 0;
        std::array<Counter, Latencies::bucket_count> latencies{};
    };
    struct alignas(cache_line) Shard {
        Counter begun = 0;
        Counter ended = 0;
        Counter handed_over_nbytes = 0;
        std::array<OperationCounters, operation_count> operations{};
        std::array<Counter, known_errnos> errors{};
    };

    static void add(Counter& counter, std::uint64_t number) noexcept {
        counter.fetch_add(number, std::memory_order_relaxed);
    }
    Shard& shard() noexcept;

    std::array<Shard, shard_count> shards_{};
};

}  // namespace ckptfs
