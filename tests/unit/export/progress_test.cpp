// What is said while an export goes on.
#include "export/progress.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <sstream>
#include <streambuf>
#include <string>
#include <thread>

namespace ckptfs::exporting {
namespace {

using std::chrono::seconds;

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

TEST(Progress, SaysWhatIsDoneAndWhatIsLeft) {
    Counters counters;
    counters.total = 4'000'000'000;
    EXPECT_EQ(progress_text(counters, 0), "looking at what there is to write");
    counters.phase = Phase::writing;
    counters.earlier = 500'000'000;
    counters.read = 200'000'000;
    counters.copied = 200'000'000;
    counters.holes = 100'000'000;
    EXPECT_EQ(progress_text(counters, 0), "1.0 GB of 4.0 GB (25 %)");
    EXPECT_EQ(progress_text(counters, 1e8), "1.0 GB of 4.0 GB (25 %), 100.0 MB/s, 30 s left");
    counters.phase = Phase::syncing;
    EXPECT_EQ(progress_text(counters, 1e8), "4.0 GB written, waiting for the disk");
    counters.phase = Phase::verifying;
    counters.verified = 2'000'000'000;
    EXPECT_EQ(progress_text(counters, 1e7),
              "read back and compared: 2.0 GB of 4.0 GB (50 %), 10.0 MB/s, 3 min 20 s left");
    counters.total = 0;
    EXPECT_EQ(progress_text(counters, 0), "read back and compared: 2.0 GB of 0 B");
}

TEST(Progress, DurationsArePlain) {
    EXPECT_EQ(duration_text(0), "0 s");
    EXPECT_EQ(duration_text(59), "59 s");
    EXPECT_EQ(duration_text(60), "1 min 0 s");
    EXPECT_EQ(duration_text(3599), "59 min 59 s");
    EXPECT_EQ(duration_text(7260), "2 h 1 min");
}

TEST(ProgressPrinter, LeavesATerminalsLineEmptyAndOtherLinesAlone) {
    Counters counters;
    counters.phase = Phase::writing;
    counters.total = 100;
    std::ostringstream stream;
    {
        ProgressPrinter printer(counters, stream, ProgressPrinter::Style::one_line, [] { return std::size_t{80}; });
        printer.say("a warning");
    }
    const std::string text = stream.str();
    EXPECT_NE(text.find("a warning\n"), std::string::npos);
    EXPECT_TRUE(text.ends_with("a warning\n") || text.ends_with("\r\x1b[K")) << text;
    std::ostringstream silent;
    {
        ProgressPrinter printer(counters, silent, ProgressPrinter::Style::silent, [] { return std::size_t{80}; });
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
    Counters counters;
    NoMemory buffer;
    std::ostream stream(&buffer);
    stream.exceptions(std::ios::badbit);
    ProgressPrinter printer(counters, stream, ProgressPrinter::Style::one_line, [] { return std::size_t{80}; });
    while (!buffer.was_asked) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

}  // namespace
}  // namespace ckptfs::exporting
