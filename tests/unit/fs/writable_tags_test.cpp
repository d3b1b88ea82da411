// What each operation makes of a tag, by the state that it is in: SOURCE's own while it is incomplete or cut for the
// mount's world size, a view where it is cut for another.
#include <sys/xattr.h>

#include <cstdio>

#include "writable_fixture.h"

namespace writable_tags {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

/// "tag" is cut for 4 ranks, the mount is of 2.
class RecutTag : public WritableTest {
 protected:
    void SetUp() override {
        WritableTest::SetUp();
        save_in_source("tag", 4, "s1");
        directory_.write("tag/readme", "kept");
        directory_.write("other", "others");
    }
    static std::string cut(const std::string& name) { return cut_text(name, own_size, 4, "s1"); }
    void expect_unchanged() {
        EXPECT_THAT(in_source("tag"), UnorderedElementsAre("model.shard", "rank_0.shard", "rank_1.shard",
                                                           "rank_2.shard", "rank_3.shard", "readme"));
        EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0");
        EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    }
};

TEST_F(RecutTag, ShowsItsViewAndNothingThatIsHidden) {
    EXPECT_THAT(program_.list("tag").value, ElementsAre("model.shard", "rank_0.shard", "rank_1.shard", "readme"));
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, cut("rank_1.shard"));
    EXPECT_EQ(program_.read("tag/model.shard").value, cut("model.shard"));
    EXPECT_EQ(program_.read("tag/readme").value, "kept");
    EXPECT_EQ(program_.read("tag/rank_2.shard").error, ENOENT);
    EXPECT_EQ(program_.stat("tag/rank_0.shard").value.size, cut("rank_0.shard").size());
    EXPECT_EQ(program_.stat("tag/rank_0.shard").value.mode, 0644U);
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(RecutTag, ListsTheInodesThatItsFilesHave) {
    const auto opened = file_system_->opendir(program_.stat("tag").value.inode);
    std::uint64_t listed = 0;
    ASSERT_TRUE(file_system_
                    ->readdir(opened.value, 0,
                              [&](const ListedEntry& entry) {
                                  listed = std::string(entry.name) == "rank_1.shard" ? entry.inode : listed;
                                  return true;
                              })
                    .ok());
    EXPECT_EQ(listed, program_.stat("tag/rank_1.shard").value.inode);
}

TEST_F(RecutTag, IsSavedAnewByWhoeverTruncatesOne) {
    const auto reader = program_.open("tag/rank_1.shard", O_RDONLY);
    ASSERT_EQ(program_.write("tag/rank_0.shard", "2 s2 rank 0"), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "2 s2 rank 0");
    // SOURCE's own from now on, left-overs of the larger save included.
    EXPECT_THAT(program_.list("tag").value, UnorderedElementsAre("model.shard", "rank_0.shard", "rank_1.shard",
                                                                 "rank_2.shard", "rank_3.shard", "readme"));
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, "4 s1 rank 1");
    EXPECT_EQ(program_.read_from(reader).error, ESTALE);
    ASSERT_EQ(program_.write("tag/rank_1.shard", "2 s2 rank 1"), 0);
    ASSERT_EQ(program_.write("tag/model.shard", "2 s2 model"), 0);
    for (const int ms : {0, 1'500, 1'500, 10'000}) {
        pass(ms);
        EXPECT_EQ(program_.read("tag/rank_1.shard").value, "2 s2 rank 1") << ms;
        EXPECT_EQ(program_.read("tag/rank_3.shard").value, "4 s1 rank 3") << ms;
    }
    EXPECT_EQ(slept_ms_, 100);
}

TEST_F(RecutTag, GetsARankThatItLacks) {
    file_system_ = make(6);
    Program larger(*file_system_);
    EXPECT_THAT(larger.list("tag").value, ::testing::SizeIs(8));
    ASSERT_EQ(larger.chmod("tag/rank_5.shard", 0640), 0);
    EXPECT_EQ(larger.write("tag/rank_5.shard", "6 s2 rank 5"), 0);
    EXPECT_EQ(source_text("tag/rank_5.shard"), "6 s2 rank 5");
    EXPECT_EQ(source_stat("tag/rank_5.shard").st_mode & 07777U, 0640U);
    EXPECT_EQ(source_text("tag/rank_3.shard"), "4 s1 rank 3");
}

TEST_F(RecutTag, IsSavedAnewByTruncateToNothing) {
    EXPECT_EQ(program_.truncate("tag/rank_0.shard", 0), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "");
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, "4 s1 rank 1");
}

TEST_F(RecutTag, IsWrittenAtItsEndAsSourceHasIt) {
    EXPECT_EQ(program_.write("tag/rank_0.shard", "!", O_WRONLY | O_APPEND), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0!");
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, "4 s1 rank 1");
}

TEST_F(RecutTag, IsWrittenOverAsSourceHasIt) {
    EXPECT_EQ(program_.write("tag/rank_0.shard", "2", O_WRONLY), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s1 rank 0");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "2 s1 rank 0");
}

TEST_F(RecutTag, HasNoPlaceForSingleBytes) {
    EXPECT_EQ(program_.open("tag/rank_0.shard", O_RDWR).error, EROFS);
    EXPECT_EQ(program_.truncate("tag/rank_0.shard", 7), EROFS);
    expect_unchanged();
    EXPECT_EQ(program_.write("tag/rank_0.shard", "2 s2 rank 0", O_RDWR | O_TRUNC), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
}

TEST_F(RecutTag, HasItsNamesTaken) {
    EXPECT_EQ(program_.open("tag/rank_0.shard", O_WRONLY | O_CREAT | O_EXCL).error, EEXIST);
    EXPECT_EQ(program_.mkdir("tag/rank_0.shard"), EEXIST);
    const auto tag = program_.stat("tag").value.inode;
    const Caller& user = program_.user();
    // Where the kernel has not looked before.
    EXPECT_EQ(file_system_->create(tag, "rank_0.shard", O_WRONLY | O_CREAT | O_EXCL, 0644, user).error, EEXIST);
    EXPECT_EQ(file_system_->create(tag, "rank_0.shard", O_RDONLY | O_CREAT, 0644, user).error, ESTALE);
    EXPECT_EQ(file_system_->mkdir(tag, "rank_0.shard", 0755, user).error, EEXIST);
    EXPECT_EQ(file_system_->mknod(tag, "rank_0.shard", S_IFREG | 0644, 0, user).error, EEXIST);
    EXPECT_EQ(file_system_->symlink(tag, "rank_0.shard", "x", user).error, EEXIST);
    const auto other = program_.stat("other").value.inode;
    EXPECT_EQ(file_system_->link(other, tag, "rank_0.shard", user).error, EEXIST);
    expect_unchanged();
    const auto created = file_system_->create(tag, "rank_0.shard", O_WRONLY | O_CREAT | O_TRUNC, 0644, user);
    ASSERT_TRUE(created.ok());
    EXPECT_EQ(source_text("tag/rank_0.shard"), "");
    EXPECT_EQ(created.value.entry.attributes.inode, program_.stat("tag/rank_0.shard").value.inode);
    file_system_->release(created.value.file.handle);
}

TEST_F(RecutTag, LetsHiddenNamesBeMadeInSource) {
    EXPECT_EQ(program_.open("tag/rank_3.shard", O_WRONLY | O_CREAT | O_EXCL).error, EEXIST);  // SOURCE's answer
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    EXPECT_EQ(program_.write("tag/rank_3.shard", "4 s2 rank 3"), 0);
    EXPECT_EQ(source_text("tag/rank_3.shard"), "4 s2 rank 3");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "4 s1 rank 0");
    EXPECT_EQ(program_.write("tag/rank_7.shard", "8 s2 rank 7", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_EQ(source_text("tag/rank_7.shard"), "8 s2 rank 7");
}

TEST_F(RecutTag, IsSavedAnewByARenameOntoIt) {
    EXPECT_EQ(program_.write("tag/.tmp", "2 s2 rank 0"), 0);
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    EXPECT_EQ(program_.rename("tag/.tmp", "tag/rank_0.shard"), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "2 s2 rank 0");
    EXPECT_EQ(program_.read("tag/rank_1.shard").value, "4 s1 rank 1");
}

TEST_F(RecutTag, IsNotRenamedLinkedOrExchanged) {
    EXPECT_EQ(program_.rename("tag/rank_0.shard", "tag/x"), EROFS);
    EXPECT_EQ(program_.rename("tag/rank_0.shard", "tag/rank_1.shard"), EROFS);
    EXPECT_EQ(program_.link("tag/rank_0.shard", "x"), EPERM);
    EXPECT_EQ(program_.rename("other", "tag/rank_0.shard", RENAME_NOREPLACE), EEXIST);
    EXPECT_EQ(program_.rename("other", "tag/rank_0.shard", RENAME_EXCHANGE), EROFS);
    EXPECT_EQ(program_.rename("tag/rank_0.shard", "other", RENAME_EXCHANGE), EROFS);
    EXPECT_EQ(program_.rename("tag/rank_3.shard", "tag/x"), ENOENT);
    const auto tag = program_.stat("tag").value.inode;
    const Caller& user = program_.user();
    EXPECT_EQ(file_system_->rename(tag, "rank_3.shard", tag, "x", 0, user).error, ENOENT);
    EXPECT_EQ(file_system_->rename(root_inode, "other", tag, "rank_3.shard", RENAME_EXCHANGE, user).error, ENOENT);
    EXPECT_EQ(file_system_->unlink(tag, "rank_3.shard", user).error, ENOENT);
    expect_unchanged();
}

TEST_F(RecutTag, MovesWithItsDirectory) {
    ASSERT_EQ(program_.mkdir("new"), 0);
    const auto notes = program_.open("tag/readme", O_RDONLY);
    const auto shard = program_.open("tag/rank_1.shard", O_RDONLY);
    const auto inode = program_.stat("tag").value.inode;
    EXPECT_EQ(program_.rename("tag", "new/tag"), 0);
    EXPECT_EQ(program_.read("new/tag/rank_1.shard").value, cut("rank_1.shard"));
    EXPECT_EQ(program_.stat("new/tag").value.inode, inode);
    EXPECT_EQ(file_system_->lookup(inode, "rank_2.shard").error, ENOENT);
    EXPECT_EQ(program_.rename("new", "newer"), 0);
    EXPECT_EQ(program_.read("newer/tag/rank_1.shard").value, cut("rank_1.shard"));
    EXPECT_EQ(file_system_->lookup(inode, "readme").error, 0);  // by an old directory handle
    EXPECT_EQ(program_.read_from(notes).value, "kept");
    EXPECT_EQ(program_.read_from(shard).value, cut("rank_1.shard"));
}

TEST_F(RecutTag, ExchangesItsDirectory) {
    save_in_source("tag2", 2, "s9");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    EXPECT_EQ(program_.read("tag2/rank_0.shard").value, "2 s9 rank 0");
    const auto inode = program_.stat("tag").value.inode;
    EXPECT_EQ(program_.rename("tag", "tag2", RENAME_EXCHANGE), 0);
    EXPECT_EQ(program_.read("tag2/rank_0.shard").value, cut("rank_0.shard"));
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "2 s9 rank 0");
    EXPECT_EQ(program_.stat("tag2").value.inode, inode);
}

TEST_F(RecutTag, GoesAsAWhole) {
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

TEST_F(RecutTag, TakesLeftOversAlong) {
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

TEST_F(RecutTag, IsNotEmptyWhileItIsShown) {
    ASSERT_EQ(program_.unlink("tag/readme"), 0);
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.rmdir("tag"), ENOTEMPTY);
    EXPECT_THAT(in_source("tag"), ::testing::SizeIs(5));
}

TEST_F(RecutTag, MakesRoomForARenameOnceItIsSeenEmpty) {
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

TEST_F(RecutTag, ComesBackAMinuteAfterARemovalWasCutShort) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    pass(59'900);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    file_system_->tidy();
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    pass(200);
    expect_unchanged();
}

TEST_F(RecutTag, ComesBackWhenAnotherNodeSavesIt) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    save_in_source("tag", 4, "s2");
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut_text("rank_0.shard", own_size, 4, "s2"));
}

TEST_F(RecutTag, ComesBackIfTheDaemonDiesInTheMiddle) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    file_system_ = make(own_size);
    Program anew(*file_system_);
    EXPECT_EQ(anew.read("tag/rank_0.shard").value, cut("rank_0.shard"));
}

TEST_F(RecutTag, DoesNotBringBackWhatWasRemovedWhenItIsSaved) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.unlink("tag/rank_1.shard"), 0);
    EXPECT_EQ(program_.write("tag/rank_1.shard", "2 s2 rank 1", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_THAT(program_.list("tag").value, ElementsAre("model.shard", "rank_1.shard", "readme"));
    EXPECT_EQ(program_.read("tag/model.shard").value, "4 s1 model");
}

TEST_F(RecutTag, LosesOneFileThatIsMadeAnew) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.write("tag/rank_0.shard", "2 s2 rank 0", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
    EXPECT_THAT(program_.list("tag").value, UnorderedElementsAre("model.shard", "rank_0.shard", "rank_1.shard",
                                                                 "rank_2.shard", "rank_3.shard", "readme"));
}

TEST_F(RecutTag, LosesOneFileThatIsReplaced) {
    EXPECT_EQ(program_.unlink("tag/rank_0.shard"), 0);
    EXPECT_EQ(program_.write("tag/.tmp", "2 s2 rank 0"), 0);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));  // what is no shard ends nothing
    EXPECT_EQ(program_.rename("tag/.tmp", "tag/rank_0.shard", RENAME_NOREPLACE), 0);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "2 s2 rank 0");
}

TEST_F(RecutTag, PassesOnWhatBelongsToTheSaveAndGoesWithIt) {
    directory_.write("tag/layer_0.shard", "layer");
    pass(1'000);
    EXPECT_THAT(program_.list("tag").value,
                ElementsAre("layer_0.shard", "model.shard", "rank_0.shard", "rank_1.shard", "readme"));
    EXPECT_EQ(program_.read("tag/layer_0.shard").value, "layer");
    EXPECT_EQ(program_.remove_tree("tag"), 0);  // the layer first
    EXPECT_THAT(in_source(), ElementsAre("other"));
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(RecutTag, HasTheAttributesOfAllItsShards) {
    EXPECT_EQ(program_.chmod("tag/rank_0.shard", 0600), 0);
    for (const auto* name : {"tag/rank_0.shard", "tag/rank_1.shard", "tag/rank_2.shard", "tag/rank_3.shard"}) {
        EXPECT_EQ(source_stat(name).st_mode & 07777U, 0600U) << name;
    }
    EXPECT_EQ(source_stat("tag/model.shard").st_mode & 07777U, 0644U);
    EXPECT_EQ(program_.stat("tag/rank_1.shard").value.mode, 0600U);
    constexpr std::int64_t then = 1'000'000'000'000'000'000;
    EXPECT_EQ(program_.change("tag/rank_1.shard", {.mtime = AttributeChange::Time{.is_now = false, .ns = then}}), 0);
    EXPECT_EQ(source_stat("tag/rank_3.shard").st_mtim.tv_sec, then / 1'000'000'000);
    EXPECT_EQ(program_.stat("tag/rank_0.shard").value.mtime_ns, then);
    // Files of one save still, though only some of them have new times.
    settle();
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    const auto tag = program_.stat("tag/rank_0.shard").value.inode;
    const auto set = file_system_->setattr(tag, std::nullopt, {.mode = 0640}, program_.user());
    ASSERT_TRUE(set.ok());
    EXPECT_EQ(set.value.attributes.mode, 0640U);
}

TEST_F(RecutTag, HasTheExtendedAttributesOfAllItsShards) {
    const auto inode = program_.stat("tag/rank_0.shard").value.inode;
    const Caller& user = program_.user();
    const std::string_view value = "v";
    const auto set = file_system_->setxattr(inode, "user.x", std::as_bytes(std::span(value)), 0, user);
    if (set.error == EOPNOTSUPP) {
        GTEST_SKIP() << "the temporary directory has no extended attributes";
    }
    ASSERT_TRUE(set.ok());
    for (const auto* name : {"tag/rank_0.shard", "tag/rank_3.shard"}) {
        EXPECT_EQ(::getxattr((directory_ / name).c_str(), "user.x", nullptr, 0), 1) << name;
    }
    EXPECT_LT(::getxattr((directory_ / "tag/model.shard").c_str(), "user.x", nullptr, 0), 0);
    const auto now = program_.stat("tag/rank_1.shard").value.inode;
    EXPECT_EQ(file_system_->getxattr(now, "user.x", user).value.size(), 1U);
    EXPECT_THAT(file_system_->listxattr(now, user).value, ElementsAre("user.x"));
    EXPECT_EQ(file_system_->getxattr(now, "system.posix_acl_access", user).error, ENODATA);
    EXPECT_TRUE(file_system_->removexattr(now, "user.x", user).ok());
    EXPECT_LT(::getxattr((directory_ / "tag/rank_2.shard").c_str(), "user.x", nullptr, 0), 0);
}

TEST_F(RecutTag, OpensByAnEntryOfTheLastSecond) {
    const auto inode = program_.stat("tag/rank_0.shard").value.inode;
    const Caller& user = program_.user();
    EXPECT_TRUE(file_system_->open(inode, O_RDONLY, user).ok());
    ASSERT_EQ(program_.write("tag/rank_1.shard", "2 s2 rank 1"), 0);
    EXPECT_EQ(file_system_->open(inode, O_RDONLY, user).error, ESTALE);
    EXPECT_EQ(file_system_->open(inode, O_RDWR, user).error, ESTALE);
    EXPECT_EQ(file_system_->open(inode, O_WRONLY | O_TRUNC, user).error, ESTALE);
    EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0");
    EXPECT_EQ(file_system_->setattr(inode, std::nullopt, {.size = 0}, user).error, ESTALE);
    EXPECT_EQ(file_system_->setattr(inode, std::nullopt, {.mode = 0600}, user).error, ESTALE);
}

TEST_F(RecutTag, ThatCannotBeShownIsSourcesAndSaysSo) {
    file_system_ = make(13);
    Program odd(*file_system_);
    EXPECT_EQ(odd.read("tag/rank_0.shard").value, "4 s1 rank 0");
    EXPECT_THAT(odd.list("tag").value, ::testing::SizeIs(6));
    EXPECT_THAT(file_bytes(log_ / "log"), ::testing::HasSubstr("thirteen is not supported"));
}

TEST_F(RecutTag, BecomesItsOwnViewOnceItIsSavedAtAnotherSizeThroughTheMount) {
    for (const auto& [name, text] : saved_files(3, "s2")) {
        ASSERT_EQ(program_.write("tag/" + name, text), 0);
    }
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, "3 s2 rank 0");  // just written
    const auto inode = program_.stat("tag/rank_1.shard").value.inode;
    settle();
    EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut_text("rank_0.shard", own_size, 3, "s2"));
    // What the kernel knows of SOURCE's own file is not opened for reading.
    EXPECT_EQ(file_system_->open(inode, O_RDONLY, program_.user()).error, ESTALE);
    EXPECT_EQ(file_system_->open(inode, O_RDWR, program_.user()).error, ESTALE);
    const auto opened = file_system_->open(inode, O_WRONLY | O_TRUNC, program_.user());
    EXPECT_TRUE(opened.ok());  // as SOURCE's own is what would be written in any case
    file_system_->release(opened.value.handle);
}

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
}  // namespace writable_tags
