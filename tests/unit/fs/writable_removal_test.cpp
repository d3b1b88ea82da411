// Removing a tag that is cut for another world size: as a whole, or not at all.
#include <cstdio>

#include "writable_fixture.h"

namespace writable_removal {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using Removal = RecutTagTest;

TEST_F(Removal, GoesAsAWhole) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_THAT(program_.list("tag").value, ElementsAre("model.shard", "rank_1.shard", "readme"));
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), ENOENT);
    EXPECT_THAT(in_source("tag"), ::testing::SizeIs(6));
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, cut("rank_1.shard"));
    pass(59'000);
    EXPECT_EQ(program_.unlink("tag/rank_1.shard"), 0);
    EXPECT_THAT(in_source("tag"), ElementsAre("model.shard", "readme"));
    EXPECT_THAT(program_.list("tag").value, ElementsAre("model.shard", "readme"));
    pass(59'000);
    EXPECT_EQ(program_.read("tag/model.shard").value, cut("model.shard"));  // of a tag that has no ranks any more
    EXPECT_EQ(program_.unlink("tag/model.shard"), 0);
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_EQ(program_.unlink("tag/readme"), 0);
    EXPECT_EQ(program_.rmdir("tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(Removal, TakesLeftOversAlong) {
    directory_.write("tag/rank_9.shard", "10 s0 rank 9");
    directory_.write("tag/odd.shard", "of no set");
    pass(1'000);
    ASSERT_THAT(program_.list("tag").value, ElementsAre("model.shard", "rank_0.shard", "rank_1.shard", "readme"));
    EXPECT_EQ(program_.unlink("tag/readme"), 0);
    for (const auto* name : {"tag/rank_0.shard", "tag/rank_1.shard"}) {
        EXPECT_EQ(program_.unlink(name), 0);
    }
    EXPECT_THAT(in_source("tag"), ElementsAre("model.shard", "odd.shard"));
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_EQ(program_.unlink("tag/model.shard"), 0);
    EXPECT_THAT(program_.list("tag").value, IsEmpty());
    EXPECT_THAT(in_source("tag"), ElementsAre("odd.shard"));
    EXPECT_EQ(program_.rmdir("tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
}

TEST_F(Removal, IsNotEmptyWhileItIsShown) {
    ASSERT_EQ(program_.unlink("tag/readme"), 0);
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_THAT(in_source("tag"), ::testing::SizeIs(5));
}

TEST_F(Removal, MakesRoomForARenameOnceItIsSeenEmpty) {
    ASSERT_EQ(program_.mkdir("new"), 0);
    directory_.write("tag/odd.shard", "of no set");
    pass(1'000);
    EXPECT_EQ(program_.rename("new", "tag"), ENOTEMPTY);
    for (const std::string& name : program_.list("tag").value) {
        EXPECT_EQ(program_.unlink("tag/" + name), 0);
    }
    ASSERT_THAT(in_source("tag"), ElementsAre("odd.shard"));
    EXPECT_EQ(program_.rename("new", "tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other", "tag"));
    EXPECT_THAT(in_source("tag"), IsEmpty());
}

TEST_F(Removal, ComesBackAMinuteAfterARemovalWasCutShort) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    pass(59'900);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    file_system_->tidy();
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    pass(200);
    expect_unchanged();
}

TEST_F(Removal, ComesBackWhenAnotherNodeSavesIt) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    save_in_source("tag", 4, "s2");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut_text("rank_0.shard", own_size, 4, "s2"));
}

TEST_F(Removal, ComesBackIfTheDaemonDiesInTheMiddle) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    file_system_ = make(own_size);
    Program anew(*file_system_);
    EXPECT_EQ(anew.read("tag/rank_0.shard").value, cut("rank_0.shard"));
}

TEST_F(Removal, DoesNotBringBackWhatWasRemovedWhenItIsSaved) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.unlink("tag/rank_1.shard"), 0);
    EXPECT_EQ(program_.write("tag/rank_1.shard", "2 s2 rank 1", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_THAT(program_.list("tag").value, ElementsAre("model.shard", "rank_1.shard", "readme"));
    EXPECT_EQ(program_.read("tag/model.shard").value, "4 s1 model");
}

TEST_F(Removal, LosesOneFileThatIsMadeAnew) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.write("tag/rank_0.shard", "2 s2 rank 0", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
    EXPECT_THAT(program_.list("tag").value, UnorderedElementsAre("model.shard", "rank_0.shard", "rank_1.shard",
                                                                 "rank_2.shard", "rank_3.shard", "readme"));
}

TEST_F(Removal, IsNotEndedByWhatIsNotMade) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    const auto tag = program_.stat("tag").value.inode;
    const Caller& user = program_.user();
    EXPECT_EQ(file_system_->create(tag, "rank_3.shard", O_WRONLY | O_CREAT | O_EXCL, 0644, user).error, EEXIST);
    EXPECT_EQ(file_system_->mkdir(tag, "rank_1.shard", 0755, user).error, EEXIST);
    EXPECT_EQ(file_system_->rename(root_inode, "other", tag, "rank_3.shard", RENAME_NOREPLACE, user).error, EEXIST);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0");
}

TEST_F(Removal, LosesOneFileThatIsReplaced) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.write("tag/.tmp", "2 s2 rank 0"), 0);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));  // what is no shard ends nothing
    EXPECT_EQ(program_.rename("tag/.tmp", "tag/rank_0.shard", RENAME_NOREPLACE), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
}

TEST_F(Removal, PassesOnWhatBelongsToTheSaveAndGoesWithIt) {
    directory_.write("tag/layer_0.shard", "layer");
    pass(1'000);
    EXPECT_THAT(program_.list("tag").value,
                ElementsAre("layer_0.shard", "model.shard", "rank_0.shard", "rank_1.shard", "readme"));
    EXPECT_EQ(program_.read("tag/layer_0.shard").value, "layer");
    EXPECT_EQ(program_.remove_tree("tag"), 0);  // the layer first
    EXPECT_THAT(in_source(), ElementsAre("other"));
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(Removal, GoesOnForOthersWhenShardsAreGone) {
    file_system_ = make(own_size, false, true);
    Program others(*file_system_);
    ASSERT_EQ(others.unlink("tag/rank_0.shard"), 0);
    ASSERT_EQ(others.unlink("tag/rank_1.shard"), 0);
    pass(1'000);  // the ways to the shards are looked at again
    EXPECT_EQ(others.read("tag/model.shard").value, cut("model.shard"));
    EXPECT_EQ(others.remove_tree("tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
}

}  // namespace
}  // namespace writable_removal
