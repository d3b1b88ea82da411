// Sums over threads, and the buckets of latencies.
#include "host/request_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

namespace ckptfs {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;
using testing::ElementsAre;
using testing::Pair;

class Counting : public testing::Test {
 protected:
    void ask(Operation operation, Answer answer = {}, nanoseconds took = nanoseconds(1)) {
        counters_->begin();
        counters_->end(operation, answer, took);
    }

    std::unique_ptr<RequestCounters> counters_ = std::make_unique<RequestCounters>();
};

TEST_F(Counting, TellsOperationsApart) {
    ask(Operation::read, {.nbytes = 100}, nanoseconds(300));
    ask(Operation::read, {.nbytes = 23, .is_handed_over = true}, nanoseconds(200));
    ask(Operation::lookup, {.error = ENOENT});
    ask(Operation::open, {.error = EIO});
    ask(Operation::open, {.error = EIO});
    ask(Operation::open, {.error = 5000});
    const RequestTotals totals = counters_->totals();
    EXPECT_EQ(totals.of(Operation::read).count, 2U);
    EXPECT_EQ(totals.of(Operation::read).nbytes, 123U);
    EXPECT_EQ(totals.handed_over_nbytes, 23U);
    EXPECT_EQ(totals.of(Operation::read).ns, 500U);
    EXPECT_EQ(totals.of(Operation::read).errors, 0U);
    EXPECT_EQ(totals.of(Operation::open).errors, 3U);
    EXPECT_EQ(totals.of(Operation::write).count, 0U);
    EXPECT_THAT(totals.errors, ElementsAre(Pair(ENOENT, 1U), Pair(EIO, 2U), Pair(133, 1U)));
    EXPECT_EQ(totals.count(), 6U);
    EXPECT_EQ(totals.error_count(), 4U);
}

TEST_F(Counting, KnowsWhatIsInProgress) {
    counters_->begin();
    counters_->begin();
    counters_->end(Operation::read, {}, nanoseconds(1));
    EXPECT_EQ(counters_->totals().in_progress, 1U);
    counters_->end(Operation::read, {}, nanoseconds(1));
    EXPECT_EQ(counters_->totals().in_progress, 0U);
}

TEST_F(Counting, PutsLatenciesIntoBucketsOfPowersOfTwo) {
    ask(Operation::read, {}, nanoseconds(0));
    ask(Operation::read, {}, microseconds(1));
    ask(Operation::read, {}, nanoseconds(1001));
    ask(Operation::read, {}, microseconds(2));
    ask(Operation::read, {}, microseconds(1024));
    ask(Operation::read, {}, microseconds(1025));
    ask(Operation::read, {}, std::chrono::hours(1));
    const Latencies found = counters_->totals().of(Operation::read).latencies;
    EXPECT_EQ(found.counts[0], 2U);
    EXPECT_EQ(found.counts[1], 2U);
    EXPECT_EQ(found.counts[10], 1U);
    EXPECT_EQ(found.counts[11], 1U);
    EXPECT_EQ(found.counts.back(), 1U);
    EXPECT_DOUBLE_EQ(Latencies::upper_bound_s(10), 0.001024);
    EXPECT_TRUE(std::isinf(Latencies::upper_bound_s(Latencies::bucket_count - 1)));
}

TEST(Latencies, AQuantileIsTheBoundOfItsBucket) {
    Latencies latencies;
    EXPECT_EQ(latencies.quantile_s(0.5), 0);
    latencies.counts[3] = 98;
    latencies.counts[20] = 2;
    EXPECT_DOUBLE_EQ(latencies.quantile_s(0.5), 8e-6);
    EXPECT_DOUBLE_EQ(latencies.quantile_s(0.98), 8e-6);
    EXPECT_DOUBLE_EQ(latencies.quantile_s(0.99), 1.048576);
}

TEST_F(Counting, LosesNothingBetweenThreads) {
    constexpr std::uint64_t each = 10'000;
    constexpr std::uint64_t thread_count = 24;  // more than there are shards
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < thread_count; ++i) {
        threads.emplace_back([this] {
            for (std::uint64_t n = 0; n < each; ++n) {
                ask(Operation::read, {.nbytes = 3});
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const RequestTotals totals = counters_->totals();
    EXPECT_EQ(totals.of(Operation::read).count, each * thread_count);
    EXPECT_EQ(totals.of(Operation::read).nbytes, 3 * each * thread_count);
    EXPECT_EQ(totals.in_progress, 0U);
}

TEST(Operations, HaveNames) {
    EXPECT_EQ(name_of(Operation::lookup), "lookup");
    EXPECT_EQ(name_of(Operation::readdir), "readdir");
    EXPECT_EQ(name_of(Operation::ioctl), "ioctl");
}

}  // namespace
}  // namespace ckptfs
