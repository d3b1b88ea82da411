// What a removal of a tag takes where others write SOURCE meanwhile, and what it costs.
#include <climits>
#include <cstdio>
#include <utility>

#include "writable_fixture.h"

namespace writable_races {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

/// "tag" is cut for 4 ranks, the mount is of 2. Another node writes SOURCE past the mount, which has just looked.
class RacedRemoval : public WritableTest {
 protected:
    void SetUp() override {
        WritableTest::SetUp();
        save_in_source("tag", 4, "s1");
    }
    void remove_what_is_seen() {
        for (const std::string& name : program_.list("tag").value) {
            ASSERT_EQ(program_.unlink("tag/" + name), 0);
        }
        ASSERT_THAT(program_.list("tag").value, IsEmpty());
    }
    int rmdir() { return file_system_->rmdir(root_inode, "tag", program_.user()).error; }
    /// Another name of `from`.
    void link_in_source(const std::string& from, const std::string& to) {
        std::filesystem::remove(directory_ / to);
        std::filesystem::create_hard_link(directory_ / from, directory_ / to);
    }
};

TEST_F(RacedRemoval, LeavesTheSaveThatAnotherNodeBeginsBeforeTheDirectoryGoes) {
    remove_what_is_seen();
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    directory_.write("tag/rank_0.shard", "2 s2 rank 0");
    EXPECT_EQ(rmdir(), ENOTEMPTY);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "2 s2 rank 0");
}

TEST_F(RacedRemoval, LeavesALeftOverThatAnotherNodeHasWrittenAnew) {
    directory_.write("tag/odd.shard", "of no set");
    pass(1'000);
    remove_what_is_seen();
    ASSERT_THAT(in_source("tag"), ElementsAre("odd.shard"));
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    directory_.write("tag/odd.shard", "of another save");
    EXPECT_EQ(rmdir(), ENOTEMPTY);
    EXPECT_EQ(source_text("tag/odd.shard"), "of another save");
}

TEST_F(RacedRemoval, LeavesTheSaveThatAnotherNodeBeginsBeforeTheLastOfASetGoes) {
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    ASSERT_TRUE(program_.exists("tag/rank_1.shard"));
    directory_.write("tag/rank_0.shard", "2 s2 rank 0");
    const auto tag = program_.stat("tag").value.inode;
    // As natively: the file of that name, and no other.
    EXPECT_EQ(file_system_->unlink(tag, "rank_1.shard", program_.user()).error, 0);
    EXPECT_THAT(in_source("tag"), UnorderedElementsAre("model.shard", "rank_0.shard", "rank_2.shard", "rank_3.shard"));
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
}

TEST_F(RacedRemoval, LeavesTheSaveThatAnotherNodeBeginsBeforeOneIsMadeHere) {
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    ASSERT_FALSE(program_.exists("tag/rank_0.shard"));
    directory_.write("tag/rank_0.shard", "2 s2 rank 0");
    ASSERT_EQ(program_.write("tag/rank_1.shard", "2 s2 rank 1"), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
}

TEST_F(RacedRemoval, LeavesWhatIsWrittenWhileItGoes) {
    directory_.write("tag/odd.shard", "of no set");
    pass(1'000);
    remove_what_is_seen();
    int lists = 0;
    calls_->before_list = [&] {
        if (++lists == 2) {  // after the look at the tag, whose names and stamps were as they should be
            directory_.write("tag/odd.shard", "of another save");
        }
    };
    EXPECT_EQ(rmdir(), ENOTEMPTY);
    EXPECT_EQ(lists, 2);
    EXPECT_EQ(source_text("tag/odd.shard"), "of another save");
}

TEST_F(RacedRemoval, LeavesWhatIsMadeWhileItGoes) {
    directory_.write("tag/odd.shard", "of no set");
    pass(1'000);
    remove_what_is_seen();
    int lists = 0;
    calls_->before_list = [&] {
        if (++lists == 2) {
            directory_.write("tag/rank_0.shard", "2 s2 rank 0");
        }
    };
    EXPECT_EQ(rmdir(), ENOTEMPTY);
    EXPECT_THAT(in_source("tag"), ElementsAre("odd.shard", "rank_0.shard"));
}

TEST_F(RacedRemoval, TakesShardsThatAreOneFile) {
    link_in_source("tag/rank_3.shard", "tag/rank_9.shard");
    link_in_source("tag/rank_3.shard", "tag/rank_8.shard");
    pass(1'000);
    EXPECT_EQ(program_.remove_tree("tag"), 0);
    EXPECT_THAT(in_source(), IsEmpty());
}

TEST_F(RacedRemoval, OfWhatIsNotThereAnyMoreIsAnError) {
    directory_.write("tag/layer_0.shard", "layer");
    pass(1'000);
    ASSERT_TRUE(program_.exists("tag/layer_0.shard"));
    const auto tag = program_.stat("tag").value.inode;
    std::filesystem::remove(directory_ / "tag/layer_0.shard");
    EXPECT_EQ(file_system_->unlink(tag, "layer_0.shard", program_.user()).error, ENOENT);
}

TEST_F(RacedRemoval, SurvivesALookThatFails) {
    ASSERT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    const auto tag = program_.stat("tag").value.inode;
    pass(1'000);
    calls_->failing_lists = 1;
    EXPECT_EQ(file_system_->lookup(tag, "rank_0.shard").error, EIO);
    EXPECT_EQ(file_system_->lookup(tag, "rank_0.shard").error, ENOENT);
    EXPECT_TRUE(program_.exists("tag/rank_1.shard"));
}

/// A view of 100 ranks over 4.
TEST_F(RacedRemoval, LooksAtSourceOnceASecondAndNotForEachFile) {
    constexpr std::uint64_t ranks = 100;
    file_system_ = make(ranks);
    Program large(*file_system_);
    ASSERT_THAT(large.list("tag").value, SizeIs(ranks + 1));
    const auto before = calls_->lists.load();
    EXPECT_EQ(large.remove_tree("tag"), 0);
    EXPECT_THAT(in_source(), IsEmpty());
    EXPECT_LT(calls_->lists - before, 15U);  // each of two sets goes in three, and the directory
}

/// Several ranks make the directory of a save: one does, and the others go on with what they find.
class RacedMaking : public WritableTest {
 protected:
    /// Looks `name` up as another rank when it has just been made, before the rank that makes it is answered.
    void find_as_it_is_made(const std::string& name) {
        calls_->after_stat = [this, name](const char* path) {
            if (path == name && !std::exchange(is_found_, true)) {
                found_ = Program(*file_system_).walk(name).value.attributes.inode;
            }
        };
    }
    bool is_found_ = false;
    std::uint64_t found_ = 0;
};

TEST_F(RacedMaking, WhoFindsADirectoryFirstHasItForGood) {
    find_as_it_is_made("tag");
    ASSERT_EQ(program_.mkdir("tag"), 0);
    ASSERT_NE(found_, 0U);
    EXPECT_EQ(file_system_->getattr(found_).error, 0);
    EXPECT_EQ(program_.stat("tag").value.inode, found_);
    EXPECT_EQ(file_system_->create(found_, "rank_0.shard", O_WRONLY | O_CREAT | O_TRUNC, 0644, program_.user()).error,
              0);
}

TEST_F(RacedMaking, WhoFindsAFileFirstHasItForGood) {
    find_as_it_is_made("file");
    ASSERT_EQ(program_.write("file", "text", O_WRONLY | O_CREAT | O_EXCL), 0);
    ASSERT_EQ(program_.stat("file").error, 0);
    ASSERT_NE(found_, 0U);
    EXPECT_EQ(file_system_->getattr(found_).error, 0);
    EXPECT_EQ(program_.stat("file").value.inode, found_);
}

}  // namespace
}  // namespace writable_races
