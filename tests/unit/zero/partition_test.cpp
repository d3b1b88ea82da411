// The flat-buffer formulas: small cases by hand here, tables of real DeepSpeed in partition_tables_test.cpp.
#include "zero/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace ckptfs::zero {
namespace {

using testing::ElementsAre;

FlatLayout layout_of(std::vector<std::uint64_t> numels, std::uint64_t world_size, FlatRules rules = {}) {
    return flat_layout(numels, world_size, rules).value();
}

TEST(Partition, PadsToTwoElementsForEachRank) {
    const FlatLayout layout = layout_of({5, 4}, 3);
    EXPECT_EQ(layout.end_numel, 9U);
    EXPECT_EQ(layout.padded_numel, 12U);
    EXPECT_EQ(layout.partition_numel, 4U);
    EXPECT_EQ(layout.used_numel(2), 1U);
    EXPECT_EQ(group_padding(layout, 1), 0U);
    EXPECT_EQ(group_padding(layout, 2), 3U);
}

TEST(Partition, SeveralRanksCanBePadding) {
    const FlatLayout layout = layout_of({3}, 4);
    EXPECT_EQ(layout.partition_numel, 2U);
    EXPECT_EQ(group_padding(layout, 1), 1U);
    EXPECT_EQ(group_padding(layout, 2), 2U);
    EXPECT_EQ(group_padding(layout, 3), 2U);
    EXPECT_EQ(group_padding_bf16_optimizer(layout, 2), 0U);
    EXPECT_EQ(group_padding_bf16_optimizer(layout, 3), 5U);
}

TEST(Partition, RoundRobinDealsParametersToRanks) {
    EXPECT_THAT(round_robin_order(7, 3), ElementsAre(0, 3, 6, 1, 4, 2, 5));
    EXPECT_THAT(round_robin_order(2, 5), ElementsAre(0, 1));
    EXPECT_THAT(round_robin_order(0, 5), testing::IsEmpty());
}

TEST(Partition, AlignmentPadsAllParametersButTheLast) {
    const FlatLayout layout = layout_of({3, 8, 5}, 1, {false, 8});
    EXPECT_THAT(layout.alignment_after, ElementsAre(5, 0, 0));
    EXPECT_EQ(layout.slots[2].offset_numel, 16U);
    EXPECT_EQ(layout.end_numel, 21U);
    EXPECT_TRUE(layout.aligned());
    EXPECT_EQ(alignment_numel(2), 8U);
    EXPECT_EQ(alignment_numel(4), 4U);
}

TEST(Partition, SliceMappingKeepsOptimizerOrderUnderRoundRobin) {
    const FlatLayout layout = layout_of({4, 2, 6}, 2, {true, 1});
    const auto fragments = slice_mapping(layout, 1);
    ASSERT_EQ(fragments.size(), 1U);
    EXPECT_EQ(fragments[0].parameter, 2U);
    EXPECT_EQ(fragments[0].start_numel, 0U);
    EXPECT_EQ(fragments[0].numel, 6U);
}

TEST(Partition, OverflowIsAnError) {
    const std::uint64_t huge = std::numeric_limits<std::uint64_t>::max() / 2;
    const std::vector<std::uint64_t> numels{huge, huge, huge};
    const auto layout = flat_layout(numels, 2, {});
    ASSERT_FALSE(layout.ok());
    EXPECT_EQ(layout.error().code(), ErrorCode::damaged);
}

TEST(Partition, OverflowOfTheAlignmentIsAnError) {
    const std::vector<std::uint64_t> numels{std::numeric_limits<std::uint64_t>::max(), 1};
    const auto layout = flat_layout(numels, 2, {false, 8});
    ASSERT_FALSE(layout.ok());
    EXPECT_EQ(layout.error().code(), ErrorCode::damaged);
}

}  // namespace
}  // namespace ckptfs::zero
