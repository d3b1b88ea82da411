// Formatting for people.
#include "util/text.h"

#include <gtest/gtest.h>

namespace ckptfs {
namespace {

TEST(Text, TrimsWhiteSpaceAtBothEnds) {
    EXPECT_EQ(trimmed(" \t\r\n\v\f a b\n"), "a b");
    EXPECT_EQ(trimmed("a"), "a");
    EXPECT_EQ(trimmed(" \n"), "");
    EXPECT_EQ(trimmed(""), "");
}

TEST(Text, NumbersAreGrouped) {
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(999), "999");
    EXPECT_EQ(grouped(1000), "1,000");
    EXPECT_EQ(grouped(18446744073709551615U), "18,446,744,073,709,551,615");
    EXPECT_EQ(counted(1, "rank"), "1 rank");
    EXPECT_EQ(counted(2, "entry", "entries"), "2 entries");
}

TEST(Text, BytesHaveUnits) {
    EXPECT_EQ(human_nbytes(999), "999 B");
    EXPECT_EQ(human_nbytes(1000), "1.0 kB");
    EXPECT_EQ(human_nbytes(999'949), "999.9 kB");
    EXPECT_EQ(human_nbytes(999'950), "1.0 MB");
    EXPECT_EQ(human_nbytes(18446744073709551615U), "18.4 EB");
}

TEST(Text, EqualRanksAreJoined) {
    EXPECT_EQ(per_rank({}), "");
    EXPECT_EQ(per_rank({0, 0, 0}), "0");
    EXPECT_EQ(per_rank({0, 0, 5}), "0 on ranks 0-1, 5 on rank 2");
    EXPECT_EQ(per_rank({1, 2}), "1 on rank 0, 2 on rank 1");
}

TEST(Text, ControlCharactersAreVisible) {
    EXPECT_EQ(printable("a\nb\x1b\x7f"), "a\\x0ab\\x1b\\x7f");
    EXPECT_EQ(in_quotes("\xc3\xa4"), "'\xc3\xa4'");
}

TEST(Text, TablesAlign) {
    EXPECT_EQ(table({{"a", "bb"}, {"ccc", "d"}}, {true, false}, " "), "   a  bb\n ccc  d\n");
}

}  // namespace
}  // namespace ckptfs
