// BlockComparer: whichever thread finds it, the first difference is the answer.
#include "verify/block_comparer.h"

#include <gtest/gtest.h>

#include "support/fake_files.h"

namespace ckptfs::verify {
namespace {

constexpr std::uint64_t block = BlockComparer::block_nbytes;
constexpr std::uint64_t nbytes = 12 * block + 40;

BlockComparer::Gather bytes_of(const File& file) {
    return [&file](std::uint64_t from, std::uint64_t count, PieceList& out) { out.add_source(&file, from, count); };
}

std::string with(const std::vector<std::uint64_t>& changed) {
    std::string bytes(nbytes, 'a');
    for (const std::uint64_t at : changed) {
        bytes[at] = 'b';
    }
    return bytes;
}

Result<Comparison> compare(const File& source, const File& view) {
    BlockComparer comparer;
    return comparer.compare(bytes_of(source), bytes_of(view), nbytes, 1);
}

TEST(BlockComparer, WhatIsTheSameHasNoDifference) {
    const test::MemoryFile source(with({}));
    const test::MemoryFile view(with({}));
    BlockComparer comparer;
    const auto found = comparer.compare(bytes_of(source), bytes_of(view), nbytes, 1);
    ASSERT_TRUE(found.ok());
    EXPECT_FALSE(found->first_difference);
    EXPECT_FALSE(found->view_error);
    EXPECT_EQ(comparer.compared_nbytes(), nbytes);
}

TEST(BlockComparer, TellsTheFirstOfSeveralDifferences) {
    const test::MemoryFile source(with({}));
    for (const std::uint64_t first : {std::uint64_t{0}, 2 * block + 7, 12 * block + 39}) {
        const test::MemoryFile view(with({first, 12 * block + 39}));
        for (int round = 0; round < 10; ++round) {
            const auto found = compare(source, view);
            ASSERT_TRUE(found.ok());
            EXPECT_EQ(found->first_difference, first);
        }
    }
}

TEST(BlockComparer, WhatComesFirstIsTold) {
    const test::MemoryFile source(with({}));
    const auto view = [](std::uint64_t differs, std::uint64_t fails) {
        return test::FaultyFile(std::make_shared<test::MemoryFile>(with({differs})), fails, 1,
                                Error(ErrorCode::damaged, "broken"));
    };
    const auto difference = compare(source, view(block, 5 * block));
    ASSERT_TRUE(difference.ok());
    EXPECT_EQ(difference->first_difference, block);
    const auto error = compare(source, view(5 * block, block));
    ASSERT_TRUE(error.ok());
    ASSERT_TRUE(error->view_error);
    EXPECT_EQ(error->view_error->message(), "broken");
    const auto of_source = compare(view(5 * block, block), source);
    ASSERT_FALSE(of_source.ok());
    EXPECT_EQ(of_source.error().message(), "broken");
}

}  // namespace
}  // namespace ckptfs::verify
