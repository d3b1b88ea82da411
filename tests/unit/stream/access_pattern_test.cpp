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

constexpr int reads_of_a_run = 4;

TEST(AccessPattern, TheFourthReadInOrderMakesARun) {
    AccessPattern pattern;
    EXPECT_EQ(follow(pattern, 5 * gib, mib, reads_of_a_run + 2),
              (std::vector{Read::elsewhere, Read::elsewhere, Read::elsewhere, Read::begins, Read::continues,
                           Read::continues}));
}

TEST(AccessPattern, OfSmallReadsItTakesHalfAMebibyte) {
    AccessPattern pattern;
    EXPECT_EQ(follow(pattern, 0, 64 * kib, 9),
              (std::vector{Read::elsewhere, Read::elsewhere, Read::elsewhere, Read::elsewhere, Read::elsewhere,
                           Read::elsewhere, Read::elsewhere, Read::begins, Read::continues}));
}

TEST(AccessPattern, OneLargeReadIsNoRun) {
    AccessPattern pattern;
    EXPECT_EQ(pattern.note(0, 8 * mib), Read::elsewhere);
}

TEST(AccessPattern, RequestsThatOvertakeEachOtherAreInOrder) {
    AccessPattern pattern;
    follow(pattern, 0, mib, reads_of_a_run);
    for (const std::uint64_t offset : {5 * mib, 4 * mib, 7 * mib, 6 * mib, 8 * mib}) {
        EXPECT_EQ(pattern.note(offset, mib), Read::continues) << offset;
    }
}

TEST(AccessPattern, RequestsThatOvertakeEachOtherFromTheStartAreInOrderFromTheFourthOn) {
    AccessPattern pattern;
    EXPECT_EQ(pattern.note(mib, mib), Read::elsewhere);
    EXPECT_EQ(pattern.note(0, mib), Read::elsewhere);
    EXPECT_EQ(pattern.note(3 * mib, mib), Read::elsewhere);
    EXPECT_EQ(pattern.note(2 * mib, mib), Read::begins);
    for (const std::uint64_t offset : {5 * mib, 4 * mib, 7 * mib, 6 * mib}) {
        EXPECT_EQ(pattern.note(offset, mib), Read::continues) << offset;
    }
}

TEST(AccessPattern, AReadElsewhereDoesNotEndARun) {
    AccessPattern pattern;
    follow(pattern, 0, mib, reads_of_a_run);
    EXPECT_EQ(pattern.note(gib, 64 * kib), Read::elsewhere);
    EXPECT_EQ(pattern.note(reads_of_a_run * mib, mib), Read::continues);
}

TEST(AccessPattern, ASecondRunTakesThePlaceOfTheFirst) {
    AccessPattern pattern;
    follow(pattern, 0, mib, reads_of_a_run);
    EXPECT_EQ(follow(pattern, gib, mib, reads_of_a_run + 1).back(), Read::continues);
    EXPECT_EQ(pattern.note(reads_of_a_run * mib, mib), Read::elsewhere);
}

/// The kernel asks for no more than 256 pages at a time, and of memory that does not begin with one the last is the
/// beginning of a page more.
TEST(AccessPattern, ReadsOfAMebibyteOrTwoAtRandomPlacesAreNeverInOrder) {
    AccessPattern pattern;
    std::mt19937_64 random(1);
    constexpr std::uint64_t rest = 48;
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t offset = random() % (1024 * gib) / mib * mib;
        const std::uint64_t count = 1 + random() % 2;
        for (std::uint64_t at = 0; at < count * mib; at += mib) {
            EXPECT_EQ(pattern.note(offset + at - (at == 0 ? 0 : rest), at == 0 ? mib - rest : mib), Read::elsewhere);
        }
        EXPECT_EQ(pattern.note(offset + count * mib - rest, rest), Read::elsewhere);
    }
}

}  // namespace
}  // namespace access_pattern
}  // namespace ckptfs
