// Formatting for people.
#include "util/text.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(Text, EqualRanksAreJoinedAndZerosLeftOut) {
    EXPECT_EQ(per_rank({}), "0");
    EXPECT_EQ(per_rank({0, 0, 0}), "0");
    EXPECT_EQ(per_rank({0, 0, 1005}), "1,005 on rank 2");
    EXPECT_EQ(per_rank({1, 1, 0, 2}), "1 on ranks 0-1, 2 on rank 3");
    EXPECT_EQ(per_rank({1, 2, 3, 4, 4, 0, 5}), "1 on rank 0, 2 on rank 1, 3 on rank 2, some on 3 more ranks");
}

TEST(Text, NumbersAreWrittenAsPeopleWriteThem) {
    EXPECT_EQ(human_number(0), "0");
    EXPECT_EQ(human_number(0.05), "0.05");
    EXPECT_EQ(human_number(0.0030102999566398113), "0.00301");
    EXPECT_EQ(human_number(0.000477121254719662), "4.77e-04");
    EXPECT_EQ(human_number(-0.0005), "-5e-04");
    EXPECT_EQ(human_number(1e-08), "1e-08");
    EXPECT_EQ(human_number(2.5e-05), "2.5e-05");
    EXPECT_EQ(human_number(0.999), "0.999");
    EXPECT_EQ(human_number(0.99999), "0.99999");
    EXPECT_EQ(human_number(0.9999999), "0.9999999") << "not 1";
    EXPECT_EQ(human_number(1000), "1000");
    EXPECT_EQ(human_number(123456.789), "1.23e+05");
    EXPECT_EQ(human_number(3.25e9), "3.25e+09");
    EXPECT_EQ(human_number(std::numeric_limits<double>::infinity()), "inf");
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
