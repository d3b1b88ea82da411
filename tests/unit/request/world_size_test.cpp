// World sizes in text.
#include "request/world_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckptfs {
namespace {

TEST(WorldSize, TheWholeRangeIsAccepted) {
    EXPECT_EQ(*parse_world_size("1"), 1U);
    EXPECT_EQ(*parse_world_size("1048576"), 1048576U);
}

TEST(WorldSize, AnythingElseIsRefusedWithTheRange) {
    for (const char* text : {"", "0", "-1", "abc", "1e3", "0x4", " 3", "+3", "3.0", "-", "1048577"}) {
        const auto parsed = parse_world_size(text);
        ASSERT_FALSE(parsed.ok()) << text;
        EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(parsed.error().message(), testing::HasSubstr("1 to 1,048,576"));
    }
}

}  // namespace
}  // namespace ckptfs
