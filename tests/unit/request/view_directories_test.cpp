// The directories that paths of files make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ckptfs/view.h"

namespace ckptfs {
namespace {

std::vector<std::string> names(const std::vector<ViewEntry>* entries) {
    std::vector<std::string> result;
    for (const ViewEntry& entry : *entries) {
        result.push_back(entry.name + (entry.file ? "" : "/"));
    }
    return result;
}

TEST(ViewDirectoriesTest, ListsEachDirectoryOnceSortedByName) {
    const ViewDirectories directories({"zero/b/fp32.pt", "zero/a/fp32.pt", "model.pt", "zero/b/exp_avg.pt", "x/y/z"});
    EXPECT_THAT(names(directories.find("")), testing::ElementsAre("model.pt", "x/", "zero/"));
    EXPECT_THAT(names(directories.find("zero")), testing::ElementsAre("a/", "b/"));
    EXPECT_THAT(names(directories.find("zero/b")), testing::ElementsAre("exp_avg.pt", "fp32.pt"));
    EXPECT_THAT(names(directories.find("x/y")), testing::ElementsAre("z"));
    EXPECT_EQ(directories.find("zero/b")->front().file, 3U);
    EXPECT_EQ(directories.find("zero/b/fp32.pt"), nullptr);
    EXPECT_EQ(directories.find("none"), nullptr);
    EXPECT_TRUE(ViewDirectories({}).find("")->empty());
}

}  // namespace
}  // namespace ckptfs
