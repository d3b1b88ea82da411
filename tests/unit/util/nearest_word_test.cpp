// Words that are told from others by a slip of the fingers.
#include "util/nearest_word.h"

#include <gtest/gtest.h>

#include <string>

namespace ckptfs {
namespace {

TEST(EditDistance, CountsSlips) {
    EXPECT_EQ(edit_distance("", ""), 0U);
    EXPECT_EQ(edit_distance("", "abc"), 3U);
    EXPECT_EQ(edit_distance("abc", ""), 3U);
    EXPECT_EQ(edit_distance("verify", "verify"), 0U);
    EXPECT_EQ(edit_distance("verfy", "verify"), 1U);
    EXPECT_EQ(edit_distance("verrify", "verify"), 1U);
    EXPECT_EQ(edit_distance("verivy", "verify"), 1U);
    EXPECT_EQ(edit_distance("exprot", "export"), 1U) << "neighbours exchanged";
    EXPECT_EQ(edit_distance("wrold-szie", "world-size"), 2U);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
    EXPECT_EQ(edit_distance("ca", "abc"), 3U) << "what was exchanged is not edited again";
}

TEST(NearestWord, IsTheNearestOneThatIsNear) {
    const std::vector<std::string_view> words{"run", "ls", "cat", "check", "inspect", "world-size", "dp-size"};
    EXPECT_EQ(nearest_word("inspct", words), "inspect");
    EXPECT_EQ(nearest_word("rnu", words), "run");
    EXPECT_EQ(nearest_word("lst", words), "ls");
    EXPECT_EQ(nearest_word("wrld-sizes", words), "world-size");
    EXPECT_EQ(nearest_word("check", words), "check");
    for (const char* far : {"", "r", "x", "ab", "checkpoint", "size", "inspiration", "rxx"}) {
        EXPECT_EQ(nearest_word(far, words), std::nullopt) << far;
    }
    EXPECT_EQ(nearest_word(std::string(10'000'000, 'x'), words), std::nullopt);
    EXPECT_EQ(nearest_word("run", {}), std::nullopt);
}

TEST(NearestWord, IsTheFirstOfThoseThatAreEquallyNear) {
    EXPECT_EQ(nearest_word("abd", {"abc", "abe"}), "abc");
    EXPECT_EQ(nearest_word("abd", {"abe", "abc"}), "abe");
    EXPECT_EQ(nearest_word("abcde", {"abcdf", "abcde"}), "abcde") << "nearer than the first";
}

}  // namespace
}  // namespace ckptfs
