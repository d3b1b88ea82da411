// AccessPattern: what counts as reading in order.
#include "stream/access_pattern.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(AccessPattern, WhatGoesOnForMoreThanAMebibyteIsARun) {
    AccessPattern pattern;
    EXPECT_EQ(follow(pattern, 5 * gib, mib, 4),
              (std::vector{Read::elsewhere, Read::begins, Read::continues, Read::continues}));
    EXPECT_EQ(pattern.run_nbytes(), 4 * mib);
    AccessPattern of_smaller_requests;
    EXPECT_EQ(follow(of_smaller_requests, 0, 256 * kib, 6),
              (std::vector{Read::elsewhere, Read::elsewhere, Read::elsewhere, Read::elsewhere, Read::begins,
                           Read::continues}));
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

/// As the kernel asks for one: 992 KiB or 256 pages at a time, and of memory that does not begin with a page the last
/// is the beginning of a page more.
TEST(AccessPattern, AMebibyteAtARandomPlaceIsNeverInOrder) {
    for (const std::uint64_t request : {992 * kib, mib, mib - 48}) {
        AccessPattern pattern;
        std::mt19937_64 random(1);
        for (int i = 0; i < 1000; ++i) {
            const std::uint64_t offset = random() % (1024 * gib) / mib * mib;
            for (std::uint64_t at = 0; at < mib; at += request) {
                EXPECT_EQ(pattern.note(offset + at, std::min(request, mib - at)), Read::elsewhere) << request;
            }
        }
    }
}

}  // namespace
}  // namespace access_pattern
}  // namespace ckptfs
