// AccessPattern: what counts as reading in order.
#include "stream/access_pattern.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace ckptfs {
namespace access_pattern {
namespace {

using Read = AccessPattern::Read;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t gib = 1024 * mib;

/// The answers to `count` reads that follow each other from `offset` on.
std::vector<Read> follow(AccessPattern& pattern, std::uint64_t offset, std::uint64_t nbytes, int count) {
    std::vector<Read> answers;
    for (int i = 0; i < count; ++i) {
        answers.push_back(pattern.note(offset + static_cast<std::uint64_t>(i) * nbytes, nbytes));
    }
    return answers;
}

TEST(AccessPattern, TheSecondLargeReadInOrderMakesARun) {
    AccessPattern pattern;
    EXPECT_EQ(follow(pattern, 5 * gib, mib, 4),
              (std::vector{Read::elsewhere, Read::begins, Read::continues, Read::continues}));
}

TEST(AccessPattern, OfSmallReadsItTakesHalfAMebibyte) {
    AccessPattern pattern;
    EXPECT_EQ(follow(pattern, 0, 128 * kib, 5),
              (std::vector{Read::elsewhere, Read::elsewhere, Read::elsewhere, Read::begins, Read::continues}));
}

TEST(AccessPattern, OneLargeReadIsNoRun) {
    AccessPattern pattern;
    EXPECT_EQ(pattern.note(0, 8 * mib), Read::elsewhere);
}

TEST(AccessPattern, RequestsThatOvertakeEachOtherAreInOrder) {
    AccessPattern pattern;
    follow(pattern, 0, mib, 2);
    for (const std::uint64_t offset : {3 * mib, 2 * mib, 5 * mib, 4 * mib, 6 * mib}) {
        EXPECT_EQ(pattern.note(offset, mib), Read::continues) << offset;
    }
}

TEST(AccessPattern, RequestsThatOvertakeEachOtherFromTheStartAreInOrderFromTheThirdOn) {
    AccessPattern pattern;
    EXPECT_EQ(pattern.note(mib, mib), Read::elsewhere);
    EXPECT_EQ(pattern.note(0, mib), Read::elsewhere);
    EXPECT_EQ(pattern.note(3 * mib, mib), Read::begins);
    for (const std::uint64_t offset : {2 * mib, 5 * mib, 4 * mib, 7 * mib, 6 * mib}) {
        EXPECT_EQ(pattern.note(offset, mib), Read::continues) << offset;
    }
}

TEST(AccessPattern, AReadElsewhereDoesNotEndARun) {
    AccessPattern pattern;
    follow(pattern, 0, mib, 2);
    EXPECT_EQ(pattern.note(gib, 64 * kib), Read::elsewhere);
    EXPECT_EQ(pattern.note(2 * mib, mib), Read::continues);
}

TEST(AccessPattern, ASecondRunTakesThePlaceOfTheFirst) {
    AccessPattern pattern;
    follow(pattern, 0, mib, 2);
    EXPECT_EQ(follow(pattern, gib, mib, 3), (std::vector{Read::elsewhere, Read::begins, Read::continues}));
    EXPECT_EQ(pattern.note(2 * mib, mib), Read::elsewhere);
}

TEST(AccessPattern, RandomReadsAreNeverInOrder) {
    AccessPattern pattern;
    std::mt19937_64 random(1);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(pattern.note(random() % (1024 * gib) / mib * mib, mib), Read::elsewhere);
    }
}

}  // namespace
}  // namespace access_pattern
}  // namespace ckptfs
