// Which lines of a log are held back, so that one fault that comes again and again neither fills a disk nor hides the
// others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ckptfs::log {

using TimePoint = std::chrono::steady_clock::time_point;

/// Lines that were held back, as one that stands for them.
struct HeldBack {
    std::string text;  ///< of the line, "" for lines of many kinds
    std::uint64_t count = 0;
};

/// Not safe for concurrent use.
class RepeatFilter {
 public:
    /// For so long after a line the same line is held back.
    static constexpr std::chrono::seconds same_line{30};
    /// In each such time so many lines are let through, whatever they say.
    static constexpr std::chrono::seconds burst{10};
    static constexpr std::size_t lines_in_burst = 100;

    /// Whether the line is to be written.
    [[nodiscard]] bool admits(std::string_view text, TimePoint now);
    /// What was held back and is due to be told of. To be called from time to time, and before every line.
    [[nodiscard]] std::vector<HeldBack> due(TimePoint now);
    /// The same, of everything.
    [[nodiscard]] std::vector<HeldBack> all();
    /// Since the start.
    [[nodiscard]] std::uint64_t held_back() const { return held_back_; }

 private:
    struct Line {
        TimePoint written;
        std::uint64_t held_back = 0;
    };

    std::map<std::string, Line, std::less<>> lines_;
    TimePoint burst_began_{};
    std::size_t in_burst_ = 0;
    std::uint64_t over_burst_ = 0;
    std::uint64_t held_back_ = 0;
};

}  // namespace ckptfs::log
