// A line for a terminal is printed over itself; elsewhere each is one of its own.
#include "util/progress.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <ostream>
#include <utility>

#include "util/layout.h"
#include "util/text.h"

namespace ckptfs {
namespace {

constexpr std::chrono::seconds measured{10};
constexpr std::chrono::milliseconds terminal_period{250};
constexpr std::chrono::seconds line_period{10};
constexpr const char* clear_line = "\r\x1b[K";

}  // namespace

void RateMeter::add(TimePoint time, std::uint64_t nbytes) {
    if (!samples_.empty() && nbytes < samples_.back().second) {
        samples_.clear();
    }
    samples_.emplace_back(time, nbytes);
    while (samples_.size() > 2 && time - samples_[1].first >= measured) {
        samples_.pop_front();
    }
}

double RateMeter::rate() const {
    if (samples_.size() < 2) {
        return 0;
    }
    const std::chrono::duration<double> seconds = samples_.back().first - samples_.front().first;
    const auto nbytes = static_cast<double>(samples_.back().second - samples_.front().second);
    return seconds.count() > 0 ? nbytes / seconds.count() : 0;
}

std::string amount_text(std::uint64_t done, std::uint64_t total, double rate) {
    std::string text = human_nbytes(done) + " of " + human_nbytes(total);
    if (total > 0) {
        const double share = 100.0 * static_cast<double>(done) / static_cast<double>(total);
        text += " (" + std::to_string(static_cast<unsigned>(share)) + " %)";
    }
    if (rate >= 1) {
        const double left = static_cast<double>(total - std::min(done, total)) / rate;
        text += ", " + human_nbytes(static_cast<std::uint64_t>(rate)) + "/s, " +
                duration_text(static_cast<std::uint64_t>(std::llround(left))) + " left";
    }
    return text;
}

std::string duration_text(std::uint64_t seconds) {
    constexpr std::uint64_t minute = 60;
    constexpr std::uint64_t hour = 60 * minute;
    constexpr std::uint64_t day = 24 * hour;
    if (seconds < minute) {
        return std::to_string(seconds) + " s";
    }
    if (seconds < hour) {
        return std::to_string(seconds / minute) + " min " + std::to_string(seconds % minute) + " s";
    }
    if (seconds < 2 * day) {
        return std::to_string(seconds / hour) + " h " + std::to_string(seconds % hour / minute) + " min";
    }
    return std::to_string(seconds / day) + " days " + std::to_string(seconds % day / hour) + " h";
}

ProgressPrinter::ProgressPrinter(TextOf text, std::ostream& stream, Style style, std::function<std::size_t()> columns,
                                 std::chrono::milliseconds delay)
    : text_(std::move(text)), stream_(stream), style_(style), columns_(std::move(columns)), delay_(delay) {
    if (style != Style::silent) {
        thread_ = std::thread([this] { work(); });
    }
}

ProgressPrinter::~ProgressPrinter() {
    {
        const std::lock_guard lock(mutex_);
        is_over_ = true;
        ending_.notify_one();
    }
    if (thread_.joinable()) {
        thread_.join();
    }
    clear();
}

void ProgressPrinter::say(const std::string& line) {
    aside([&] { stream_ << line << '\n' << std::flush; });
}

void ProgressPrinter::aside(const std::function<void()>& write) {
    const std::lock_guard lock(mutex_);
    clear();
    write();
}

void ProgressPrinter::clear() {
    if (is_shown_) {
        stream_ << clear_line << std::flush;
        is_shown_ = false;
    }
}

void ProgressPrinter::print(const std::string& text) {
    if (text.empty()) {
        return;
    }
    if (style_ == Style::lines) {
        stream_ << "ckptfs: " << text << '\n' << std::flush;
        return;
    }
    // A line that is wrapped is not gone with clear_line; some terminals wrap it once the last column is full.
    const std::size_t columns = std::max<std::size_t>(columns_(), 1);
    stream_ << clear_line << shown_prefix(text, columns - 1) << std::flush;
    is_shown_ = true;
}

void ProgressPrinter::work() {
    std::chrono::milliseconds period = style_ == Style::lines ? line_period : delay_;
    std::unique_lock lock(mutex_);
    while (!ending_.wait_for(lock, period, [&] { return is_over_; })) {
        try {
            print(text_());
        } catch (const std::bad_alloc&) {
            return;  // what is done matters more than what is said of it
        }
        period = style_ == Style::lines ? line_period : terminal_period;
    }
}

}  // namespace ckptfs
