// PieceList: order kept, empties dropped, neighbours joined, and never wrongly.
#include <gmock/gmock.h>

#include <limits>

#include "ckptfs/extent.h"
#include "support/fake_files.h"

namespace ckptfs {
namespace {

using test::MemoryFile;
using testing::ElementsAre;
using testing::IsEmpty;

Piece source(const File* file, std::uint64_t offset, std::uint64_t length) {
    return {Piece::Kind::source, file, offset, length};
}
Piece zeros(std::uint64_t length) {
    return {Piece::Kind::zeros, nullptr, 0, length};
}
Piece literal(std::uint64_t offset, std::uint64_t length) {
    return {Piece::Kind::literal, nullptr, offset, length};
}

TEST(PieceList, DropsEmptyPieces) {
    const MemoryFile file("abc");
    PieceList list;
    list.add_source(&file, 1, 0);
    list.add_zeros(0);
    list.add_literal("");
    EXPECT_THAT(list.pieces(), IsEmpty());
    EXPECT_EQ(list.nbytes(), 0U);
}

TEST(PieceList, JoinsRunsThatContinueEachOther) {
    const MemoryFile file("0123456789");
    PieceList list;
    list.add_source(&file, 2, 3);
    list.add_source(&file, 5, 1);
    list.add_zeros(4);
    list.add_zeros(5);
    list.add_literal("ab");
    list.add_literal("c");
    EXPECT_THAT(list.pieces(), ElementsAre(source(&file, 2, 4), zeros(9), literal(0, 3)));
    EXPECT_EQ(list.nbytes(), 16U);
}

TEST(PieceList, KeepsApartWhatDoesNotContinue) {
    const MemoryFile one("0123456789");
    const MemoryFile other("0123456789");
    PieceList list;
    list.add_source(&one, 2, 3);
    list.add_source(&one, 6, 1);    // a gap
    list.add_source(&one, 6, 1);    // the same again
    list.add_source(&other, 7, 1);  // another file
    list.add_source(&other, 3, 2);  // backwards
    EXPECT_THAT(list.pieces(), ElementsAre(source(&one, 2, 3), source(&one, 6, 1), source(&one, 6, 1),
                                           source(&other, 7, 1), source(&other, 3, 2)));
}

TEST(PieceList, AppendsWithLiteralsAndJoinsAtTheSeam) {
    const MemoryFile file("0123456789");
    PieceList first;
    first.add_literal("head");
    first.add_source(&file, 0, 4);
    PieceList second;
    second.add_source(&file, 4, 2);
    second.add_literal("tail");
    first.append(second);
    EXPECT_THAT(first.pieces(), ElementsAre(literal(0, 4), source(&file, 0, 6), literal(4, 4)));
    EXPECT_EQ(first.literals(), "headtail");
    EXPECT_EQ(first.nbytes(), 14U);
}

TEST(PieceList, AppendsItself) {
    PieceList list;
    list.add_literal("ab");
    list.add_zeros(1);
    list.append(list);
    EXPECT_THAT(list.pieces(), ElementsAre(literal(0, 2), zeros(1), literal(2, 2), zeros(1)));
    EXPECT_EQ(list.literals(), "abab");
}

TEST(PieceList, ASumPast64BitsIsRefusedByTheFile) {
    PieceList list;
    list.add_zeros(std::numeric_limits<std::uint64_t>::max());
    list.add_zeros(2);
    const auto file = VirtualFile::create("huge", std::move(list), nullptr);
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.error().code(), ErrorCode::internal);
}

}  // namespace
}  // namespace ckptfs
