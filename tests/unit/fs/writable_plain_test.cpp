// Tags that a mount which can be written shows as SOURCE has them: incomplete ones, those that are cut for its own
// world size, and any that is being saved through it.
#include <cstdio>

#include "writable_fixture.h"

namespace writable_plain {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;

/// The states in which SOURCE's bytes are shown: a save that is incomplete, and one that is cut for the mount.
class PlainTag : public WritableTest, public ::testing::WithParamInterface<bool> {
 protected:
    void SetUp() override {
        WritableTest::SetUp();
        save_in_source("tag", GetParam() ? own_size : 4, "s1");
        if (!GetParam()) {
            std::filesystem::remove(directory_ / "tag/rank_3.shard");
        }
        directory_.write("other", "others");
        first_ = source_text("tag/rank_0.shard");
    }
    std::string first_;
};
INSTANTIATE_TEST_SUITE_P(Writable, PlainTag, ::testing::Bool());

TEST_P(PlainTag, IsReadAsItIs) {
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, first_);
    EXPECT_EQ(program_.list("tag").value, in_source("tag"));
    EXPECT_EQ(program_.stat("tag/rank_0.shard").value.size, first_.size());
    EXPECT_EQ(program_.read("tag/rank_9.shard").error, ENOENT);
}

TEST_P(PlainTag, IsKnownForAsLongAsItWasLookedAt) {
    ASSERT_TRUE(program_.exists("tag/rank_0.shard"));
    pass(400);
    const auto tag = program_.stat("tag").value.inode;
    EXPECT_NEAR(file_system_->lookup(tag, "rank_0.shard").value.entry_lifetime.count(), 0.6, 1e-6);
    ASSERT_EQ(program_.write("tag/notes", "no shard"), 0);
    EXPECT_NEAR(file_system_->lookup(tag, "notes").value.entry_lifetime.count(), 1, 1e-6);
}

TEST_P(PlainTag, IsWrittenInPlace) {
    EXPECT_EQ(program_.write("tag/rank_0.shard", "X", O_RDWR), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "X" + first_.substr(1));
    EXPECT_EQ(program_.truncate("tag/rank_0.shard", 1), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "X");
    EXPECT_EQ(program_.write("tag/rank_0.shard", "Y", O_WRONLY | O_APPEND), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "XY");
    EXPECT_EQ(program_.write("tag/rank_9.shard", "Z", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_EQ(program_.write("tag/rank_9.shard", "Z", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
    EXPECT_EQ(program_.list("tag").value, in_source("tag"));
    EXPECT_EQ(program_.mkdir("tag/rank_8.shard"), 0);
    EXPECT_EQ(program_.rmdir("tag/rank_8.shard"), 0);
    EXPECT_EQ(program_.symlink("rank_0.shard", "tag/rank_7.shard"), 0);
    EXPECT_EQ(program_.mknod("tag/rank_6.shard", S_IFREG | 0600), 0);
    EXPECT_EQ(program_.list("tag").value, in_source("tag"));
}

TEST_P(PlainTag, IsRenamedAndLinked) {
    EXPECT_EQ(program_.rename("other", "tag/rank_0.shard", RENAME_NOREPLACE), EEXIST);
    EXPECT_EQ(program_.rename("other", "tag/rank_0.shard", RENAME_EXCHANGE), 0);
    EXPECT_EQ(source_text("other"), first_);
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "others");
    EXPECT_EQ(program_.rename("other", "tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, first_);
    EXPECT_EQ(program_.link("tag/rank_0.shard", "linked"), 0);
    EXPECT_EQ(program_.stat("linked").value.nlink, 2U);
    EXPECT_EQ(program_.stat("linked").value.inode, program_.stat("tag/rank_0.shard").value.inode);
    EXPECT_EQ(program_.rename("tag/rank_0.shard", "moved"), 0);
    EXPECT_EQ(source_text("moved"), first_);
    EXPECT_EQ(program_.rename("tag", "tag2"), 0);
    EXPECT_EQ(program_.list("tag2").value, in_source("tag2"));
}

TEST_P(PlainTag, IsRemovedFileByFile) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_FALSE(in_source("tag").contains("rank_0.shard"));
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_EQ(program_.remove_tree("tag"), 0);
    EXPECT_THAT(in_source(), ElementsAre("other"));
    EXPECT_LE(reader_->reads(), 1);
}

TEST_P(PlainTag, ChangesAttributesOfOneFile) {
    EXPECT_EQ(program_.chmod("tag/rank_0.shard", 0600), 0);
    EXPECT_EQ(source_stat("tag/rank_0.shard").st_mode & 07777U, 0600U);
    EXPECT_EQ(source_stat("tag/rank_1.shard").st_mode & 07777U, 0644U);
}

using Saving = WritableTest;

TEST_F(Saving, ReadsNothingOfATagThatIsBeingWritten) {
    ASSERT_EQ(program_.mkdir("tag"), 0);
    ASSERT_EQ(program_.write("tag/model.shard", "4 s1 model"), 0);
    for (int rank = 0; rank < 4; ++rank) {
        const std::string text = saved_text(4, "s1", "rank " + std::to_string(rank));
        ASSERT_EQ(program_.write("tag/" + rank_shard(static_cast<std::uint64_t>(rank)), text), 0);
        EXPECT_EQ(program_.list("tag").value, in_source("tag"));
        pass(1'900);
    }
    EXPECT_EQ(reader_->reads(), 0);
    const auto writer = program_.open("tag/rank_3.shard", O_WRONLY);
    pass(100'000);
    file_system_->tidy();
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "4 s1 rank 0");
    EXPECT_EQ(reader_->reads(), 0);
    program_.close(writer);
    pass(1'900);
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "4 s1 rank 0");
    EXPECT_EQ(reader_->reads(), 0);
    pass(200);
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut_text("rank_0.shard", own_size, 4, "s1"));
    EXPECT_EQ(reader_->reads(), 1);
    EXPECT_EQ(slept_ms_, 0);
}

TEST_F(Saving, LooksAtSourceForOtherNodes) {
    const auto other_mount = make(own_size);
    Program other(*other_mount);
    EXPECT_FALSE(other.exists("tag"));
    EXPECT_EQ(program_.mkdir("tag"), 0);
    EXPECT_EQ(other.mkdir("tag"), EEXIST);
    EXPECT_TRUE(other.exists("tag"));
    EXPECT_EQ(program_.write("tag/model.shard", "2 s1"), 0);
    EXPECT_EQ(other.read("tag/model.shard").value, "2 s1");
    EXPECT_EQ(program_.write("tag/rank_0.shard", "2 s1"), 0);
    EXPECT_EQ(other.write("tag/rank_1.shard", "2 s1"), 0);
    for (Program* program : {&program_, &other}) {
        EXPECT_THAT(program->list("tag").value, ElementsAre("model.shard", "rank_0.shard", "rank_1.shard"));
        EXPECT_EQ(program->read("tag/rank_1.shard").value, "2 s1");
    }
    EXPECT_EQ(other.remove_tree("tag"), 0);
    EXPECT_FALSE(program_.exists("tag"));
}

TEST_F(Saving, OfOneNodeIsSeenByAnotherThatShowsTheTag) {
    save_in_source("tag", 4, "s1");
    const auto other_mount = make(own_size);
    Program other(*other_mount);
    EXPECT_EQ(other.read("tag/rank_1.shard").value, cut_text("rank_1.shard", own_size, 4, "s1"));
    ASSERT_EQ(program_.write("tag/rank_0.shard", "2 s2"), 0);
    pass(1'000);
    EXPECT_EQ(other.read("tag/rank_1.shard").value, "4 s1 rank 1");
    ASSERT_EQ(other.write("tag/rank_1.shard", "2 s2"), 0);
    ASSERT_EQ(program_.write("tag/model.shard", "2 s2"), 0);
    for (const int ms : {0, 1'000, 3'000}) {
        pass(ms);
        EXPECT_EQ(other.read("tag/rank_0.shard").value, "2 s2");
        EXPECT_EQ(program_.read("tag/rank_1.shard").value, "2 s2");
    }
}

TEST_F(Saving, NeedsAWorldSize) {
    const auto source = io::DirectorySource::open_directory(directory_.path()).value();
    for (const std::optional<ViewRequest> request : {std::optional<ViewRequest>(), ViewRequest::parse("weights")}) {
        FileSystemOptions options;
        options.request = request;
        options.writer = source->writer();
        const auto made = FileSystem::create(source, reader_, std::move(options));
        ASSERT_FALSE(made.ok());
        EXPECT_EQ(made.error().code(), ErrorCode::invalid_argument);
    }
}

}  // namespace
}  // namespace writable_plain
