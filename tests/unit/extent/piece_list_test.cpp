// PieceList: order kept, empties dropped, neighbours joined, and never wrongly.
#include <gmock/gmock.h>

#include <deque>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/extent.h"
#include "support/fake_files.h"

namespace ckptfs {
namespace {

using test::MemoryFile;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

Piece source(const File* file, std::uint64_t offset, std::uint64_t length) {
    return {Piece::Kind::source, file, offset, length};
}
Piece zeros(std::uint64_t length) {
    return {Piece::Kind::zeros, nullptr, 0, length};
}
std::deque<MemoryFile> equal_files(std::size_t count, std::uint64_t nbytes) {
    std::deque<MemoryFile> files;
    for (std::size_t i = 0; i < count; ++i) {
        files.emplace_back(std::string(nbytes, 'x'));
    }
    return files;
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

/// The same place in one file after the other, as the shares of a parameter lie in the files of its ranks.
TEST(PieceList, SharesInManyFilesTakeTheMemoryOfOnePiece) {
    constexpr std::size_t ranks = 1000;
    constexpr std::uint64_t parameters = 200;
    const auto files = equal_files(ranks, 2 * parameters);
    PieceList list;
    for (std::uint64_t parameter = 0; parameter < parameters; ++parameter) {
        for (const MemoryFile& file : files) {
            list.add_source(&file, 2 * parameter, 1);
        }
        list.add_zeros(3);
    }
    ASSERT_EQ(list.pieces().size(), parameters * (ranks + 1));
    auto piece = list.pieces().begin();
    for (std::uint64_t parameter = 0; parameter < parameters; ++parameter) {
        for (const MemoryFile& file : files) {
            ASSERT_EQ(*piece++, source(&file, 2 * parameter, 1));
        }
        ASSERT_EQ(*piece++, zeros(3));
    }
    EXPECT_EQ(piece, list.pieces().end());
    const auto file = VirtualFile::create("gathered", std::move(list), nullptr);
    ASSERT_TRUE(file.ok());
    EXPECT_LT((*file)->memory_nbytes(), parameters * ranks / 4);
}

/// Held against a list that keeps every piece.
TEST(PieceList, AnyOrderOfPiecesIsKept) {
    const auto files = equal_files(40, 100);
    std::mt19937_64 random(7);
    const auto below = [&](std::uint64_t limit) { return random() % limit; };
    for (int round = 0; round < 300; ++round) {
        PieceList list;
        std::vector<Piece> expected;
        std::uint64_t literals = 0;
        std::size_t number = 0;
        const std::size_t used = round % 2 == 0 ? 4 : files.size();
        for (std::uint64_t count = below(60); count-- > 0;) {
            number = below(4) == 0 ? below(used) : (number + below(2)) % used;
            Piece piece = source(&files[number], 10 * below(2) + below(2), 1 + below(2));
            if (below(8) == 0) {
                piece = below(2) == 0 ? zeros(1 + below(3)) : literal(literals, 1 + below(3));
            }
            if (piece.kind == Piece::Kind::source) {
                list.add_source(piece.file, piece.offset, piece.length);
            } else if (piece.kind == Piece::Kind::zeros) {
                list.add_zeros(piece.length);
            } else {
                literals += piece.length;
                list.add_literal(std::string(piece.length, 'l'));
            }
            if (!expected.empty()) {
                Piece& last = expected.back();
                const bool is_next = last.kind == piece.kind && last.file == piece.file &&
                                     (piece.kind == Piece::Kind::zeros || last.offset + last.length == piece.offset);
                if (is_next) {
                    last.length += piece.length;
                    continue;
                }
            }
            expected.push_back(piece);
        }
        ASSERT_THAT(list.pieces(), ElementsAreArray(expected));
        ASSERT_EQ(list.pieces().size(), expected.size());
        std::uint64_t end = 0;
        for (const Piece& piece : expected) {
            const std::uint64_t begin = end;
            end += piece.length;
            for (std::uint64_t offset = begin; offset < end; ++offset) {
                const auto at = list.pieces().at(offset);
                ASSERT_NE(at, list.pieces().end());
                ASSERT_EQ(*at, piece);
                ASSERT_EQ(at.begin_offset(), begin);
                ASSERT_EQ(at.end_offset(), end);
            }
        }
        ASSERT_EQ(list.pieces().at(end), list.pieces().end());
        ASSERT_EQ(list.nbytes(), end);
    }
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
