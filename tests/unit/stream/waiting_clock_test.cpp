// The clock that goes on while a thread waits.
#include "stream/waiting_clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace ckptfs {
namespace {

using namespace std::chrono_literals;

TEST(WaitingClock, GoesOnWhileAThreadSleeps) {
    const auto start = waiting_clock();
    std::this_thread::sleep_for(20ms);
    const auto waited = waiting_clock() - start;
    EXPECT_GE(waited, 20ms);
    EXPECT_LT(waited, 20s);
}

TEST(WaitingClock, StandsStillWhileOthersHaveTheProcessor) {
    std::atomic<bool> ends = false;
    std::vector<std::thread> others;
    for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency(); ++i) {
        others.emplace_back([&ends] {
            while (!ends) {
            }
        });
    }
    const auto start = waiting_clock();
    const auto until = std::chrono::steady_clock::now() + 100ms;
    while (std::chrono::steady_clock::now() < until) {
    }
    EXPECT_EQ(waiting_clock() - start, 0ns);
    ends = true;
    for (auto& other : others) {
        other.join();
    }
}

}  // namespace
}  // namespace ckptfs
