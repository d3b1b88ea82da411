// Times as the system has them.
#pragma once

#include <cstdint>
#include <ctime>

namespace ckptfs {

inline constexpr std::int64_t ns_per_second = 1'000'000'000;

/// `ns`: since the epoch, or before it.
[[nodiscard]] inline timespec to_timespec(std::int64_t ns) {
    std::int64_t seconds = ns / ns_per_second;
    std::int64_t rest = ns % ns_per_second;
    if (rest < 0) {
        rest += ns_per_second;
        --seconds;
    }
    return {static_cast<time_t>(seconds), static_cast<long>(rest)};
}

/// Since the epoch.
[[nodiscard]] inline std::int64_t to_ns(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * ns_per_second + static_cast<std::int64_t>(time.tv_nsec);
}

}  // namespace ckptfs
