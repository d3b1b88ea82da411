// Running random cases by seed; every property test does it alike.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>

namespace ckptfs::test {

/// Says what is wrong with the case of a seed; empty where nothing is.
using RunCase = std::function<std::string(std::uint64_t seed)>;

inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets any
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

inline void run_cases(std::uint64_t first_seed, std::uint64_t count, const RunCase& run_case) {
    constexpr int max_failures = 5;
    std::cout << "seeds " << first_seed << " to " << first_seed + count - 1 << std::endl;
    int failures = 0;
    for (std::uint64_t i = 0; i < count && failures < max_failures; ++i) {
        if (const std::string wrong = run_case(first_seed + i); !wrong.empty()) {
            ADD_FAILURE() << wrong;
            ++failures;
        }
    }
}

/// The same cases in every run, unless the environment names others.
inline void run_known_cases(std::uint64_t first_seed, std::uint64_t count, const RunCase& run_case) {
    run_cases(setting("CKPTFS_PROPERTY_SEED", first_seed), setting("CKPTFS_PROPERTY_CASES", count), run_case);
}

/// A tenth of as many, at seeds that no run before had.
inline void run_new_cases(std::uint64_t count, const RunCase& run_case) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto seed = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
    run_cases(seed, setting("CKPTFS_PROPERTY_CASES", count) / 10, run_case);
}

}  // namespace ckptfs::test
