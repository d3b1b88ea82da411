// Where rules say that elements lie.
#include "model/elements.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/memory_source.h"

namespace ckptfs::model {
namespace {

/// The elements [from, from + count), each a byte.
std::string gathered(const Elements& elements, std::uint64_t from, std::uint64_t count) {
    PieceList pieces;
    elements.append(from, count, pieces);
    const auto file = VirtualFile::create("gathered", std::move(pieces), nullptr);
    std::string text(count, '?');
    EXPECT_TRUE(file.ok());
    EXPECT_TRUE((*file)->read(0, std::as_writable_bytes(std::span(text))).ok());
    return text;
}

void expect_elements(const Elements& elements, const std::string& whole) {
    ASSERT_EQ(elements.numel(), whole.size());
    for (std::size_t from = 0; from <= whole.size(); ++from) {
        for (std::size_t count = 0; from + count <= whole.size(); ++count) {
            EXPECT_EQ(gathered(elements, from, count), whole.substr(from, count)) << from << " + " << count;
        }
    }
}

TEST(ElementsTest, ContiguousElementsFollowOneAnother) {
    const test::MemoryFile file("xxabcdefxx", "a");
    expect_elements({DType::uint8, 6, Contiguous{&file, 2}}, "abcdef");
}

TEST(ElementsTest, MapDealsFlatPositionsToShards) {
    const test::MemoryFile first("..abc", "first");
    const test::MemoryFile second("..def", "second");
    const std::vector<Shard> shards{{&first, 1, 4}, {&second, 1, 4}};
    // Flat: "abcdef"; the tensor is its elements 1 to 5.
    expect_elements({DType::uint8, 5, ElementMap{shards, 3, 1, 1}}, "bcdef");
}

TEST(ElementsTest, PartsStandSideBySideInEachRow) {
    const test::MemoryFile left("abAB", "left");
    const test::MemoryFile right("cdeCDE", "right");
    const Elements joined =
        join({{DType::uint8, 4, Contiguous{&left, 0}}, {DType::uint8, 6, Contiguous{&right, 0}}}, 2);
    expect_elements(joined, "abcdeABCDE");
    expect_elements(join({joined, {DType::uint8, 2, Contiguous{&left, 0}}}, 1), "abcdeABCDEab");
}

TEST(ElementsTest, APartAlongAnAxisIsCutFromEachRow) {
    const test::MemoryFile file("abcdeABCDE", "whole");
    const Elements whole(DType::uint8, 10, Contiguous{&file, 0});
    expect_elements(narrow(whole, 2, 1, 3), "bcdBCD");
    expect_elements(narrow(narrow(whole, 2, 1, 3), 1, 2, 3), "dBC");
    expect_elements(narrow(whole, 2, 0, 5), "abcdeABCDE");
    expect_elements(narrow(whole, 2, 4, 0), "");
}

TEST(ElementsTest, CountsBytesByItsDType) {
    const test::MemoryFile file(std::string(64, 'x'), "a");
    PieceList pieces;
    Elements(DType::float32, 8, Contiguous{&file, 16}).append(2, 3, pieces);
    ASSERT_EQ(pieces.pieces().size(), 1U);
    EXPECT_EQ(pieces.pieces().front().offset, 24U);
    EXPECT_EQ(pieces.pieces().front().length, 12U);
    Elements(DType::float32, 8, Zeros{}).append(pieces);
    EXPECT_EQ(pieces.nbytes(), 44U);
}

}  // namespace
}  // namespace ckptfs::model
