// How long things are trusted, and by which clocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace ckptfs {

using TimePoint = std::chrono::steady_clock::time_point;

/// What a listing is trusted for.
inline constexpr std::chrono::seconds freshness{1};

/// How long the files of a tag must have been left alone before it is read. The kernel sets a file's times before it
/// copies what is written, and on many systems a hundred or a thousand writes have the same time: until then, other
/// bytes may come under the same stamp.
inline constexpr std::chrono::milliseconds settling_time{100};
/// The same where the tag was whole before: a save over it is running, and goes on to its next file within this time.
inline constexpr std::chrono::milliseconds settling_time_of_save{1000};
/// Files that changed longer ago than this have settled, as far as the clock that their times are from, which may be a
/// server's, and that of this machine agree within it: a file that a server dates further back settles at once.
inline constexpr std::chrono::seconds settled_age{2};

struct Clocks {
    std::function<TimePoint()> now;             ///< what freshness is measured with
    std::function<std::int64_t()> wall_now_ns;  ///< since the epoch, as times of files are
    std::function<void(std::chrono::milliseconds)> sleep;
};

}  // namespace ckptfs
