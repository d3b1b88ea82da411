// What becomes of a tag where SOURCE does not answer.
#include <climits>
#include <cstdio>

#include "writable_fixture.h"

namespace writable_faults {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// "tag" is cut for 4 ranks, the mount is of 2.
class FaultyTag : public WritableTest {
 protected:
    void SetUp() override {
        WritableTest::SetUp();
        save_in_source("tag", 4, "s1");
        directory_.write("other", "others");
        ASSERT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
        tag_ = program_.stat("tag").value.inode;
        shown_ = program_.stat("tag/rank_0.shard").value.inode;
    }
    static std::string cut(const std::string& name) { return cut_text(name, own_size, 4, "s1"); }
    /// The next look at the tag lists it in vain, and any later one does not.
    void fail_the_next_list() {
        pass(1'000);
        calls_->failing_lists = 1;
    }
    void expect_unchanged() {
        EXPECT_EQ(calls_->failing_lists, 0);
        EXPECT_THAT(in_source("tag"), SizeIs(5));
        EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0");
        EXPECT_EQ(source_text("other"), "others");
        EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
        EXPECT_EQ(program_.stat("tag/rank_3.shard").error, ENOENT);
    }
    std::uint64_t tag_ = 0;
    std::uint64_t shown_ = 0;
};

TEST_F(FaultyTag, ThatCannotBeListedAnswersForNoShard) {
    const auto& user = program_.user();
    FileSystem& fs = *file_system_;
    const std::vector<std::function<int()>> operations{
        [&] { return fs.lookup(tag_, "rank_0.shard").error; },
        [&] { return fs.lookup(tag_, "rank_3.shard").error; },
        [&] { return fs.create(tag_, "rank_0.shard", O_WRONLY | O_CREAT | O_TRUNC, 0644, user).error; },
        [&] { return fs.mkdir(tag_, "rank_7.shard", 0755, user).error; },
        [&] { return fs.unlink(tag_, "rank_0.shard", user).error; },
        [&] { return fs.rename(tag_, "rank_0.shard", root_inode, "x", 0, user).error; },
        [&] { return fs.rename(root_inode, "other", tag_, "rank_0.shard", 0, user).error; },
        [&] { return fs.open(shown_, O_RDONLY, user).error; },
        [&] { return fs.open(shown_, O_RDWR, user).error; },
        [&] { return fs.open(shown_, O_WRONLY | O_TRUNC, user).error; },
        [&] { return fs.setattr(shown_, std::nullopt, {.size = 7}, user).error; },
        [&] { return fs.setattr(shown_, std::nullopt, {.mode = 0600}, user).error; },
        [&] { return fs.getxattr(shown_, "user.x", user).error; },
        [&] { return fs.opendir(tag_).error; },
    };
    for (std::size_t i = 0; i < operations.size(); ++i) {
        SCOPED_TRACE(i);
        fail_the_next_list();
        EXPECT_EQ(operations[i](), EIO);
        expect_unchanged();
    }
    EXPECT_THAT(file_bytes(log_ / "log"), HasSubstr("tag"));
}

TEST_F(FaultyTag, ThatCannotBeListedAnswersForEverythingElse) {
    directory_.write("tag/readme", "kept");
    fail_the_next_list();
    EXPECT_EQ(program_.read("tag/readme").value, "kept");
    EXPECT_EQ(calls_->failing_lists, 1);
}

TEST_F(FaultyTag, ThatCannotBeListedKeepsWhatIsBehindARemoval) {
    for (const std::string& name : program_.list("tag").value) {
        ASSERT_EQ(program_.unlink("tag/" + name), 0);
    }
    directory_.write("tag/odd.shard", "made since");
    fail_the_next_list();
    EXPECT_EQ(file_system_->rmdir(root_inode, "tag", program_.user()).error, EIO);
    EXPECT_THAT(in_source("tag"), ElementsAre("odd.shard"));
}

TEST_F(FaultyTag, ThatWasNeverReadIsNotTakenForSources) {
    file_system_ = make(own_size);
    Program anew(*file_system_);
    calls_->failing_reads = 1;
    EXPECT_EQ(anew.read("tag/rank_0.shard").error, EIO);
    EXPECT_EQ(calls_->failing_reads, 0);
    EXPECT_EQ(anew.open("tag/rank_0.shard", O_RDWR).error, EIO);
    EXPECT_EQ(anew.truncate("tag/rank_0.shard", 3), EIO);
    EXPECT_THAT(file_bytes(log_ / "log"), HasSubstr("cannot be shown"));
    pass(1'000);
    EXPECT_EQ(anew.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0");
}

TEST_F(FaultyTag, ThatCannotBeReadIsSavedAnewAndGoes) {
    file_system_ = make(own_size);
    Program anew(*file_system_);
    calls_->failing_reads = INT_MAX;
    EXPECT_EQ(anew.write("tag/rank_0.shard", "2 s2 rank 0"), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
    settle();
    EXPECT_EQ(anew.read("tag/rank_1.shard").error, EIO);
    EXPECT_EQ(anew.remove_tree("tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
}

TEST_F(FaultyTag, IsNotWrittenByAnEntryOfTheLastSecond) {
    for (const auto& [name, text] : saved_files(3, "s2")) {
        ASSERT_EQ(program_.write("tag/" + name, text), 0);
    }
    const auto plain = program_.stat("tag/rank_1.shard").value.inode;
    settle();
    const Caller& user = program_.user();
    for (const int flags : {O_RDONLY, O_RDWR}) {
        fail_the_next_list();
        EXPECT_EQ(file_system_->open(plain, flags, user).error, EIO);
    }
    fail_the_next_list();
    EXPECT_EQ(file_system_->setattr(plain, std::nullopt, {.size = 3}, user).error, EIO);
    EXPECT_EQ(file_system_->setattr(plain, std::nullopt, {.size = 3}, user).error, ESTALE);  // a view by now
    EXPECT_EQ(source_text("tag/rank_1.shard"), "3 s2 rank 1");
}

}  // namespace
}  // namespace writable_faults
