// Renaming tags that are being removed, and directories that others rename too.
#include <cstdio>

#include "writable_fixture.h"

namespace writable_renames {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class RenamedRemoval : public RecutTagTest {
 protected:
    /// A file that belongs to the save and is shown as it is, and one that is hidden.
    void write_others() {
        directory_.write("tag/layer_0.shard", "layer");
        directory_.write("tag/odd.shard", "of no set");
        pass(1'000);
    }
    void remove_what_is_seen(const std::string& tag) {
        for (const std::string& name : program_.list(tag).value) {
            ASSERT_EQ(program_.unlink(tag + "/" + name), 0) << name;
        }
        ASSERT_THAT(program_.list(tag).value, IsEmpty());
    }
    int rename(const std::string& from, const std::string& to, unsigned flags) {
        return file_system_->rename(root_inode, from, root_inode, to, flags, program_.user()).error;
    }
};

TEST_F(RenamedRemoval, DoesNotBringBackWhatWasRemovedWhereAShardLeaves) {
    write_others();
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    ASSERT_EQ(program_.rename("tag/layer_0.shard", "layer"), 0);
    EXPECT_EQ(source_text("layer"), "layer");
    EXPECT_THAT(in_source("tag"), Not(Contains("rank_0.shard")));
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, "4 s1 rank 1");
}

TEST_F(RenamedRemoval, DoesNotBringBackWhatWasRemovedWhereAShardIsExchanged) {
    write_others();
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    ASSERT_EQ(program_.rename("other", "tag/layer_0.shard", RENAME_EXCHANGE), 0);
    EXPECT_EQ(source_text("tag/layer_0.shard"), "others");
    EXPECT_THAT(in_source("tag"), Not(Contains("rank_0.shard")));
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
}

TEST_F(RenamedRemoval, TakesNothingForARenameThatReplacesNothing) {
    write_others();
    ASSERT_EQ(program_.mkdir("new"), 0);
    remove_what_is_seen("tag");
    EXPECT_EQ(rename("new", "tag", RENAME_NOREPLACE), EEXIST);
    EXPECT_THAT(in_source("tag"), ElementsAre("odd.shard"));
    EXPECT_EQ(rename("new", "tag", 0), 0);
    EXPECT_THAT(in_source("tag"), IsEmpty());
}

TEST_F(RenamedRemoval, GoesOnWhereTheTagIsNow) {
    write_others();
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    ASSERT_EQ(program_.rename("tag", "trash"), 0);
    EXPECT_THAT(program_.list("trash").value, ElementsAre("layer_0.shard", "model.shard", "rank_1.shard", "readme"));
    EXPECT_FALSE(program_.exists("trash/rank_0.shard"));
    EXPECT_EQ(program_.read("trash/rank_1.shard").value, cut("rank_1.shard"));
    EXPECT_EQ(program_.chmod("trash/model.shard", 0600), 0);
    EXPECT_EQ(source_stat("trash/model.shard").st_mode & 07777U, 0600U);
}

TEST_F(RenamedRemoval, IsWholeWhereTheTagIsNow) {
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    ASSERT_EQ(program_.rename("tag", "trash"), 0);
    ASSERT_EQ(program_.unlink("trash/rank_1.shard"), 0);
    EXPECT_THAT(in_source("trash"), ElementsAre("model.shard", "readme"));
    ASSERT_EQ(program_.rename("trash", "tag"), 0);  // some of it is gone
    EXPECT_THAT(program_.list("tag").value, ElementsAre("model.shard", "readme"));
    EXPECT_EQ(program_.remove_tree("tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
}

TEST_F(RenamedRemoval, LeavesADirectoryThatIsSeenEmptyWhereTheTagIsNow) {
    write_others();
    remove_what_is_seen("tag");
    ASSERT_EQ(program_.rename("tag", "trash"), 0);
    EXPECT_EQ(file_system_->rmdir(root_inode, "trash", program_.user()).error, 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
}

using RenamedByOthers = WritableTest;

TEST_F(RenamedByOthers, DirectoryThatIsFoundBelowItselfIsStaleUntilItIsLookedUp) {
    std::filesystem::create_directories(directory_ / "a/b");
    directory_.write("a/b/file", "text");
    const auto a = program_.stat("a").value.inode;
    const auto b = program_.stat("a/b").value.inode;
    std::filesystem::rename(directory_ / "a", directory_ / "x");
    std::filesystem::create_directories(directory_ / "a/b");
    std::filesystem::rename(directory_ / "x", directory_ / "a/b/a");
    // By the old inode of "a/b", whose name leads to another directory by now.
    ASSERT_EQ(file_system_->lookup(b, "a").value.attributes.inode, a);
    EXPECT_EQ(file_system_->getattr(b).error, ESTALE);
    EXPECT_EQ(file_system_->lookup(a, "rank_0.shard").error, ESTALE);
    EXPECT_EQ(program_.stat("a/b/a").value.inode, a);
    EXPECT_EQ(program_.stat("a/b/a/b").value.inode, b);
    EXPECT_EQ(program_.read("a/b/a/b/file").value, "text");
}

}  // namespace
}  // namespace writable_renames
