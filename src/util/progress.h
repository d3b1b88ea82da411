// What a person is told while something lasts.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iosfwd>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace ckptfs {

/// Bytes a second over the last ten seconds.
class RateMeter {
 public:
    using TimePoint = std::chrono::steady_clock::time_point;

    /// Times ascend. A count below the last one begins anew.
    void add(TimePoint time, std::uint64_t nbytes);
    /// 0 while nothing can be said.
    [[nodiscard]] double rate() const;

 private:
    std::deque<std::pair<TimePoint, std::uint64_t>> samples_;
};

/// "12.3 GB of 45.6 GB (27 %), 1.2 GB/s, 28 s left"; without a rate its first half.
[[nodiscard]] std::string amount_text(std::uint64_t done, std::uint64_t total, double rate);
/// "28 s", "3 min 5 s", "2 h 10 min", "5 days 3 h".
[[nodiscard]] std::string duration_text(std::uint64_t seconds);

/// Writes to `stream` from a thread of its own, until it is destroyed.
class ProgressPrinter {
 public:
    enum class Style : unsigned char {
        silent,
        one_line,  ///< for a terminal: the same line again and again, gone at the end
        lines,     ///< one every ten seconds
    };
    /// What is printed at this moment; nothing where it is empty.
    using TextOf = std::function<std::string()>;

    /// `text` is called by the printer's thread. `columns`: asked for the width of the terminal before each line that
    /// is printed over itself, which is cut to it. `delay`: before the first such line.
    ProgressPrinter(TextOf text, std::ostream& stream, Style style, std::function<std::size_t()> columns,
                    std::chrono::milliseconds delay = std::chrono::milliseconds(250));
    ProgressPrinter(const ProgressPrinter&) = delete;
    ProgressPrinter& operator=(const ProgressPrinter&) = delete;
    ~ProgressPrinter();

    /// A line of its own, which stays.
    void say(const std::string& line);
    /// Writes something else to the same terminal, while the line is not there.
    void aside(const std::function<void()>& write);

 private:
    void work();
    void print(const std::string& text);
    void clear();

    const TextOf text_;
    std::ostream& stream_;
    const Style style_;
    const std::function<std::size_t()> columns_;
    const std::chrono::milliseconds delay_;
    std::mutex mutex_;
    std::condition_variable ending_;
    bool is_over_ = false;
    bool is_shown_ = false;  // there is something on the line
    std::thread thread_;
};

}  // namespace ckptfs
