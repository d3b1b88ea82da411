// Threads that share numbered work.
#include "util/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ckptfs {
namespace {

TEST(ForEachInParallel, EachNumberHasItsCallOnce) {
    for (const std::size_t threads : {0U, 1U, 3U, 200U}) {
        std::vector<std::atomic<int>> calls(100);
        for_each_in_parallel(calls.size(), threads, [&](std::size_t i) {
            ++calls[i];
            return true;
        });
        for (const std::atomic<int>& count : calls) {
            EXPECT_EQ(count, 1);
        }
    }
    for_each_in_parallel(0, 4, [](std::size_t /*number*/) -> bool { throw std::logic_error("called"); });
}

TEST(ForEachInParallel, AsManyCallsAtATimeAsThereAreThreads) {
    std::latch all_inside(4);
    for_each_in_parallel(4, 4, [&](std::size_t /*number*/) {
        all_inside.arrive_and_wait();  // hangs where they come one after the other
        return true;
    });
}

TEST(ForEachInParallel, WithOneThreadTheCallerDoesAll) {
    for_each_in_parallel(3, 1, [caller = std::this_thread::get_id()](std::size_t /*number*/) {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        return true;
    });
}

TEST(ForEachInParallel, AfterAFailureNoFurtherCallsBegin) {
    std::vector<std::atomic<bool>> called(1'000);
    for_each_in_parallel(called.size(), 4, [&](std::size_t i) {
        called[i] = true;
        return i != 10;
    });
    for (std::size_t i = 0; i <= 10; ++i) {
        EXPECT_TRUE(called[i]) << i;
    }
    std::size_t count = 0;
    for_each_in_parallel(1'000, 1, [&](std::size_t i) {
        ++count;
        return i != 10;
    });
    EXPECT_EQ(count, 11U);
}

TEST(ForEachInParallel, WhatIsThrownIsThrownOn) {
    EXPECT_THROW(for_each_in_parallel(8, 4,
                                      [](std::size_t i) {
                                          if (i == 3) {
                                              throw std::runtime_error("three");
                                          }
                                          return true;
                                      }),
                 std::runtime_error);
}

}  // namespace
}  // namespace ckptfs
