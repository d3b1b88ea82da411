// BlockMemory: the limit, and what is kept.
#include "stream/block_memory.h"

#include <gtest/gtest.h>

namespace ckptfs {
namespace {

TEST(BlockMemory, GivesNoMoreThanItsLimit) {
    const auto memory = std::make_shared<BlockMemory>(2 * stream_block_nbytes + stream_block_nbytes / 2);
    auto first = memory->take();
    const auto second = memory->take();
    ASSERT_TRUE(first);
    ASSERT_TRUE(second);
    EXPECT_NE(first.get(), second.get());
    EXPECT_FALSE(memory->take());
    EXPECT_EQ(memory->held_nbytes(), 2 * stream_block_nbytes);
    first.reset();
    EXPECT_TRUE(memory->take());
}

TEST(BlockMemory, WithoutALimitOfOneBlockThereIsNone) {
    EXPECT_FALSE(std::make_shared<BlockMemory>(stream_block_nbytes - 1)->take());
}

TEST(BlockMemory, IsPartOfTheBudgetOfAll) {
    MemoryBudget budget([] { return 3 * stream_block_nbytes; });
    const auto memory = std::make_shared<BlockMemory>(8 * stream_block_nbytes, budget);
    MemoryReservation of_others(budget);
    ASSERT_TRUE(of_others.resize(stream_block_nbytes));
    auto one = memory->take();
    auto other = memory->take();
    ASSERT_TRUE(one && other);
    EXPECT_EQ(budget.held(), 3 * stream_block_nbytes);
    EXPECT_FALSE(memory->take());
    of_others.resize(0);
    EXPECT_TRUE(memory->take());
    one.reset();
    other.reset();
    memory->release_unused();
    memory->release_unused();
    EXPECT_EQ(budget.held(), 0U);
}

TEST(BlockMemory, NobodyLetsGoOfAnythingForIt) {
    MemoryBudget budget([] { return stream_block_nbytes; });
    MemoryReservation of_others(budget);
    ASSERT_TRUE(of_others.resize(1));
    int asked = 0;
    const MemoryReclaimer reclaimer(budget, [&] { ++asked; });
    EXPECT_FALSE(std::make_shared<BlockMemory>(stream_block_nbytes, budget)->take());
    EXPECT_EQ(asked, 0);
}

TEST(BlockMemory, KeptBlocksAreLetGoOfForOthersAndTakenOnesStay) {
    MemoryBudget budget([] { return 3 * stream_block_nbytes; });
    const auto memory = std::make_shared<BlockMemory>(3 * stream_block_nbytes, budget);
    auto taken = memory->take();
    ASSERT_TRUE(memory->take() && memory->take());
    EXPECT_EQ(memory->held_nbytes(), 3 * stream_block_nbytes);
    MemoryReservation wanted(budget);
    EXPECT_TRUE(wanted.resize(2 * stream_block_nbytes));
    EXPECT_EQ(memory->held_nbytes(), stream_block_nbytes);
    taken.get()[0] = std::byte{1};
    taken.reset();
    EXPECT_TRUE(memory->take());
}

TEST(BlockMemory, TheLastBlockGivenBackIsTheNextOne) {
    const auto memory = std::make_shared<BlockMemory>(4 * stream_block_nbytes);
    auto first = memory->take();
    auto second = memory->take();
    const auto* const last = first.get();
    second.reset();
    first.reset();
    EXPECT_EQ(memory->take().get(), last);
}

TEST(BlockMemory, FreesWhatWasNotNeededSinceTheLastCall) {
    const auto memory = std::make_shared<BlockMemory>(4 * stream_block_nbytes);
    { const std::vector held{memory->take(), memory->take(), memory->take()}; }
    memory->release_unused();  // all of them were
    EXPECT_EQ(memory->held_nbytes(), 3 * stream_block_nbytes);
    static_cast<void>(memory->take());
    memory->release_unused();
    EXPECT_EQ(memory->held_nbytes(), stream_block_nbytes);
    memory->release_unused();
    EXPECT_EQ(memory->held_nbytes(), 0U);
}

TEST(BlockMemory, BlocksOutliveIt) {
    auto memory = std::make_shared<BlockMemory>(stream_block_nbytes);
    const auto held = memory->take();
    memory.reset();
    held.get()[stream_block_nbytes - 1] = std::byte{1};
    EXPECT_EQ(held.get()[stream_block_nbytes - 1], std::byte{1});
}

}  // namespace
}  // namespace ckptfs
