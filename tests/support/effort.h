// How much of a long loop is worth its time under a sanitizer that looks for something else.
#pragma once

#include <cstddef>

namespace ckptfs::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool looks_for_races = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool looks_for_races = true;
#else
inline constexpr bool looks_for_races = false;
#endif
#else
inline constexpr bool looks_for_races = false;
#endif

/// `all`, but `few` under ThreadSanitizer: of what has no threads, or the same ones whatever is tried.
/// AddressSanitizer's build tries all.
constexpr std::size_t unless_looking_for_races(std::size_t all, std::size_t few) {
    return looks_for_races ? few : all;
}

}  // namespace ckptfs::test
