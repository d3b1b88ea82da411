// The stage-3 formulas, by hand.
#include "zero/zero3_partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckptfs::zero {
namespace {

using testing::ElementsAre;

std::vector<SubGroup> cut(std::vector<std::uint64_t> numels, std::uint64_t world_size, std::uint64_t sub_group_size) {
    std::vector<SubGroup> found;
    cut_sub_groups(0, numels, world_size, sub_group_size, found);
    return found;
}

TEST(Zero3Partition, EachParameterIsPaddedOnItsOwn) {
    EXPECT_EQ(partition_numel(10, 4), 3U);
    EXPECT_EQ(partition_numel(12, 4), 3U);
    EXPECT_EQ(partition_numel(1, 8), 1U);
    EXPECT_EQ(partition_numel(0, 8), 0U);
}

TEST(Zero3Partition, OneSubGroupWhereTheSharesFit) {
    EXPECT_THAT(cut({10, 12}, 4, 6), ElementsAre(SubGroup{0, 0, 2, 6}));
    EXPECT_THAT(cut({10, 12}, 4, default_sub_group_size), ElementsAre(SubGroup{0, 0, 2, 6}));
}

TEST(Zero3Partition, ASubGroupEndsWithTheParameterThatFillsIt) {
    EXPECT_THAT(cut({10, 12, 1, 1}, 4, 4), ElementsAre(SubGroup{0, 0, 2, 6}, SubGroup{0, 2, 2, 2}));
    EXPECT_THAT(cut({10, 12, 1}, 4, 3), ElementsAre(SubGroup{0, 0, 1, 3}, SubGroup{0, 1, 1, 3}, SubGroup{0, 2, 1, 1}));
}

TEST(Zero3Partition, TheCutMovesWithTheWorldSize) {
    EXPECT_EQ(cut({10, 12, 8}, 1, 10).size(), 3U);
    EXPECT_EQ(cut({10, 12, 8}, 2, 10).size(), 2U);
    EXPECT_EQ(cut({10, 12, 8}, 4, 10).size(), 1U);
}

TEST(Zero3Partition, SizeZeroMakesEveryParameterASubGroup) {
    EXPECT_EQ(cut({3, 0, 5}, 2, 0).size(), 3U);
}

TEST(Zero3Partition, AFilledLastParameterLeavesNoEmptySubGroup) {
    EXPECT_THAT(cut({4, 4}, 1, 4), ElementsAre(SubGroup{0, 0, 1, 4}, SubGroup{0, 1, 1, 4}));
}

TEST(Zero3Partition, CountsThatOverflowAreRefused) {
    const std::vector<std::uint64_t> small{5, 7};
    EXPECT_TRUE(check_numels(small, 8).ok());
    const std::vector<std::uint64_t> large{std::uint64_t{1} << 60U};
    EXPECT_FALSE(check_numels(large, 2).ok());
    const std::vector<std::uint64_t> many{std::uint64_t{1} << 63U, std::uint64_t{1} << 63U};
    EXPECT_FALSE(check_numels(many, 3).ok());
}

}  // namespace
}  // namespace ckptfs::zero
