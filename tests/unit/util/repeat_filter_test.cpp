// What is held back of a log, and what is told of it.
#include "util/repeat_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckptfs::log {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::FieldsAre;
using testing::IsEmpty;

constexpr TimePoint start{};

TEST(RepeatFilter, TheSameLineIsHeldBackForAWhileAndCounted) {
    RepeatFilter filter;
    EXPECT_TRUE(filter.admits("a", start));
    EXPECT_FALSE(filter.admits("a", start + seconds(1)));
    EXPECT_FALSE(filter.admits("a", start + seconds(2)));
    EXPECT_TRUE(filter.admits("b", start + seconds(2))) << "another line";
    EXPECT_THAT(filter.due(start + seconds(29)), IsEmpty());
    EXPECT_THAT(filter.due(start + seconds(30)), ElementsAre(FieldsAre("a", 2U)));
    EXPECT_TRUE(filter.admits("a", start + seconds(30)));
    EXPECT_THAT(filter.due(start + seconds(90)), IsEmpty()) << "nothing was held back";
    EXPECT_EQ(filter.held_back(), 2U);
}

TEST(RepeatFilter, LinesOfManyKindsAreHeldBackTogether) {
    RepeatFilter filter;
    std::size_t admitted = 0;
    for (std::size_t i = 0; i < RepeatFilter::lines_in_burst + 7; ++i) {
        admitted += filter.admits("line " + std::to_string(i), start) ? 1U : 0U;
    }
    EXPECT_EQ(admitted, RepeatFilter::lines_in_burst);
    EXPECT_THAT(filter.due(start + seconds(9)), IsEmpty());
    EXPECT_THAT(filter.due(start + seconds(10)), ElementsAre(FieldsAre("", 7U)));
    EXPECT_TRUE(filter.admits("a line of later", start + seconds(10)));
}

TEST(RepeatFilter, TheEndTellsOfAll) {
    RepeatFilter filter;
    EXPECT_TRUE(filter.admits("a", start));
    EXPECT_FALSE(filter.admits("a", start));
    EXPECT_THAT(filter.all(), ElementsAre(FieldsAre("a", 1U)));
    EXPECT_THAT(filter.all(), IsEmpty());
}

}  // namespace
}  // namespace ckptfs::log
