// What COMMAND's arguments become.
#include "cli/placeholder.h"

#include <gtest/gtest.h>

namespace ckptfs::cli {
namespace {

TEST(Placeholder, IsReplacedWhereverItStands) {
    EXPECT_EQ(with_view("", "/v"), "");
    EXPECT_EQ(with_view("{}", "/v"), "/v");
    EXPECT_EQ(with_view("--load={}/x:{}", "/v"), "--load=/v/x:/v");
    EXPECT_EQ(with_view("x{y} { } }{", "/v"), "x{y} { } }{");
    EXPECT_EQ(with_view("{}", "/a{}b"), "/a{}b") << "what is put in is not looked at again";
}

TEST(Placeholder, IsItselfInTwoPairsOfBraces) {
    EXPECT_EQ(with_view("{{}}", "/v"), "{}");
    EXPECT_EQ(with_view("{{}}{}{{}}", "/v"), "{}/v{}");
    EXPECT_EQ(with_view("find -exec cat {{}} +", "/v"), "find -exec cat {} +");
    EXPECT_EQ(with_view("{{}", "/v"), "{/v") << "not closed twice";
    EXPECT_EQ(with_view("{}}", "/v"), "/v}");
    EXPECT_EQ(with_view("{{{}}}", "/v"), "{{}}") << "so that `{{}}` itself can be said";
    EXPECT_EQ(with_view("{{a}}", "/v"), "{{a}}") << "no other braces are touched";
}

}  // namespace
}  // namespace ckptfs::cli
