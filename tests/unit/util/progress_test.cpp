// What a person is told while something lasts.
#include "util/progress.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <sstream>
#include <streambuf>
#include <string>
#include <thread>

namespace ckptfs {
namespace {

using std::chrono::seconds;

std::string some_text() {
    return "1 of 2";
}

TEST(RateMeter, CountsTheLastTenSeconds) {
    const RateMeter::TimePoint start{};
    RateMeter meter;
    EXPECT_EQ(meter.rate(), 0);
    meter.add(start, 0);
    EXPECT_EQ(meter.rate(), 0);
    meter.add(start + seconds(2), 200);
    EXPECT_EQ(meter.rate(), 100);
    for (int i = 3; i <= 40; ++i) {
        meter.add(start + seconds(i), 200);  // nothing more comes
    }
    EXPECT_EQ(meter.rate(), 0);
    meter.add(start + seconds(41), 0);  // another phase begins
    meter.add(start + seconds(42), 50);
    EXPECT_EQ(meter.rate(), 50);
}

TEST(Progress, DurationsArePlain) {
    EXPECT_EQ(duration_text(0), "0 s");
    EXPECT_EQ(duration_text(59), "59 s");
    EXPECT_EQ(duration_text(60), "1 min 0 s");
    EXPECT_EQ(duration_text(3599), "59 min 59 s");
    EXPECT_EQ(duration_text(7260), "2 h 1 min");
    EXPECT_EQ(duration_text(172'799), "47 h 59 min");
    EXPECT_EQ(duration_text(172'800), "2 days 0 h");
}

TEST(ProgressPrinter, LeavesATerminalsLineEmptyAndOtherLinesAlone) {
    std::ostringstream stream;
    {
        ProgressPrinter printer(some_text, stream, ProgressPrinter::Style::one_line, [] { return std::size_t{80}; });
        printer.say("a warning");
    }
    const std::string text = stream.str();
    EXPECT_NE(text.find("a warning\n"), std::string::npos);
    EXPECT_TRUE(text.ends_with("a warning\n") || text.ends_with("\r\x1b[K")) << text;
    std::ostringstream silent;
    {
        ProgressPrinter printer(some_text, silent, ProgressPrinter::Style::silent, [] { return std::size_t{80}; });
        printer.say("a warning");
    }
    EXPECT_EQ(silent.str(), "a warning\n");
}

TEST(ProgressPrinter, MemoryThatIsLackingEndsItAndNothingElse) {
    class NoMemory final : public std::streambuf {
     public:
        std::atomic<bool> was_asked = false;

     protected:
        std::streamsize xsputn(const char* /*bytes*/, std::streamsize /*count*/) override {
            was_asked = true;
            throw std::bad_alloc();
        }
    };
    NoMemory buffer;
    std::ostream stream(&buffer);
    stream.exceptions(std::ios::badbit);
    ProgressPrinter printer(some_text, stream, ProgressPrinter::Style::one_line, [] { return std::size_t{80}; });
    while (!buffer.was_asked) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

TEST(ProgressPrinter, PrintsOverItselfWithinTheTerminal) {
    std::ostringstream stream;
    std::atomic<int> asked = 0;
    {
        const auto text = [&asked] {
            ++asked;
            return std::string("a t\u00e9xt that is longer than the terminal");
        };
        ProgressPrinter printer(
            text, stream, ProgressPrinter::Style::one_line, [] { return std::size_t{11}; },
            std::chrono::milliseconds(1));
        while (asked < 2) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        printer.aside([&] { stream << "out\n"; });
    }
    const std::string said = stream.str();
    EXPECT_TRUE(said.starts_with("\r\x1b[Ka t\u00e9xt tha\r\x1b[K")) << said;
    EXPECT_NE(said.find("\r\x1b[Kout\n"), std::string::npos) << "the line is cleared before something else";
}

}  // namespace
}  // namespace ckptfs
