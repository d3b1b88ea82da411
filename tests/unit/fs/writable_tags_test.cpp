// What each operation makes of a tag that is cut for another world size, and shown as a view.
#include <sys/xattr.h>

#include <array>
#include <cstdio>

#include "writable_fixture.h"

namespace writable_tags {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

using RecutTag = RecutTagTest;

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

TEST_F(RecutTag, HasTheNameTakenOfARankThatSourceLacks) {
    file_system_ = make(6);
    Program larger(*file_system_);
    const auto tag = larger.stat("tag").value.inode;
    const Caller& user = larger.user();
    EXPECT_EQ(file_system_->create(tag, "rank_5.shard", O_WRONLY | O_CREAT | O_EXCL, 0644, user).error, EEXIST);
    EXPECT_EQ(file_system_->mknod(tag, "rank_5.shard", S_IFREG | 0644, 0, user).error, EEXIST);
    EXPECT_EQ(file_system_->rename(root_inode, "other", tag, "rank_5.shard", RENAME_NOREPLACE, user).error, EEXIST);
    EXPECT_FALSE(in_source("tag").contains("rank_5.shard"));
    EXPECT_EQ(larger.read("tag/rank_5.shard").value, cut_text("rank_5.shard", 6, 4, "s1"));
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
    file_system_->tidy();
    file_system_->tidy();  // nothing stays open that was not used
    EXPECT_EQ(program_.read_from(notes).value, "kept");
    EXPECT_EQ(program_.read_from(shard).value, cut("rank_1.shard"));
}

TEST_F(RecutTag, IsNotWhatIsMadeInItsPlace) {
    const auto known = program_.stat("tag/rank_0.shard").value.inode;
    ASSERT_EQ(program_.rename("tag", "away"), 0);
    ASSERT_EQ(program_.mkdir("tag"), 0);
    EXPECT_FALSE(program_.exists("tag/rank_0.shard"));
    EXPECT_EQ(file_system_->open(known, O_RDONLY, program_.user()).error, ESTALE);
    EXPECT_EQ(program_.write("tag/rank_0.shard", "2 s2 rank 0", O_WRONLY | O_CREAT | O_EXCL), 0);
    EXPECT_EQ(program_.read("away/rank_0.shard").value, cut("rank_0.shard"));
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

TEST_F(RecutTag, IsTheSameWhenItIsMovedAwayAndBack) {
    FileSystemOptions options;
    options.request = ViewRequest::at_world_size(own_size);
    options.now = [this] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(now_ms_)); };
    const auto source = io::DirectorySource::open_directory(directory_.path()).value();
    const auto read_only = FileSystem::create(source, reader_, std::move(options)).value();
    Program reader(*read_only);
    for (Program* program : {&program_, &reader}) {
        ASSERT_EQ(program->read("tag/rank_0.shard").value, cut("rank_0.shard"));
        std::filesystem::rename(directory_ / "tag", directory_ / "away");
        pass(1'000);
        EXPECT_FALSE(program->exists("tag/rank_0.shard"));
        std::filesystem::create_directory(directory_ / "tag");
        pass(1'000);
        EXPECT_FALSE(program->exists("tag/rank_0.shard"));
        std::filesystem::rename(directory_ / "away", directory_ / "tag");
        pass(1'000);
        EXPECT_EQ(program->read("tag/rank_0.shard").value, cut("rank_0.shard"));
    }
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

TEST_F(RecutTag, ShowsNoAccessControlLists) {
    constexpr std::array<std::uint16_t, 22> acl{2,    0,                  // the version
                                                1,    6, 0xffff, 0xffff,  // its owner
                                                2,    4, 12345,  0,       // a user
                                                4,    4, 0xffff, 0xffff,  // its group
                                                0x10, 4, 0xffff, 0xffff,  // the mask
                                                0x20, 4, 0xffff, 0xffff};
    constexpr const char* name = "system.posix_acl_access";
    for (const auto* shard : {"tag/rank_0.shard", "tag/rank_1.shard"}) {
        if (::setxattr((directory_ / shard).c_str(), name, acl.data(), sizeof acl, 0) != 0) {
            GTEST_SKIP() << "the temporary directory has no access control lists";
        }
    }
    pass(1'000);
    const auto inode = program_.stat("tag/rank_0.shard").value.inode;
    EXPECT_EQ(file_system_->getxattr(inode, name, program_.user()).error, ENODATA);
    EXPECT_THAT(file_system_->listxattr(inode, program_.user()).value, ::testing::Not(::testing::Contains(name)));
    ASSERT_EQ(program_.truncate("tag/model.shard", 0), 0);
    const auto own = program_.stat("tag/rank_0.shard").value.inode;
    EXPECT_EQ(file_system_->getxattr(own, name, program_.user()).value.size(), sizeof acl);
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

}  // namespace
}  // namespace writable_tags
