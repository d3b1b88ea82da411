// What verification found wrong, as it is kept for reports.
#include "verify/problems.h"

#include <gmock/gmock.h>

namespace ckptfs::verify {
namespace {

using ::testing::ElementsAre;

TEST(Problems, HaveNoControlCharactersOfDamagedFiles) {
    Problems problems;
    problems.add("libtorch cannot read 'a\x1b[31m\n.pt'");
    EXPECT_THAT(problems.kept(), ElementsAre("libtorch cannot read 'a\\x1b[31m\\x0a.pt'"));
}

TEST(Problems, AreCountedWhereTheyAreNotKept) {
    Problems many;
    for (std::size_t i = 0; i < Problems::max_kept + 5; ++i) {
        many.add("problem " + std::to_string(i));
    }
    Problems all;
    all.add("the first");
    all.add(many);
    EXPECT_EQ(all.count(), Problems::max_kept + 6);
    EXPECT_EQ(all.kept().size(), Problems::max_kept);
    EXPECT_EQ(all.kept().back(), "problem 18");
}

}  // namespace
}  // namespace ckptfs::verify
