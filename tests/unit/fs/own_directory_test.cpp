// What a mount says of itself: found by name, never listed, and never in the way of SOURCE.
#include <gmock/gmock.h>

#include <algorithm>

#include "fixture.h"

namespace ckptfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr const char* generation_name = "user.ckptfs.generation";
constexpr const char* sources_name = "user.ckptfs.sources";

class User final : public Caller {
 public:
    explicit User(std::uint32_t uid) : uid_(uid) {}
    [[nodiscard]] std::uint32_t uid() const override { return uid_; }
    [[nodiscard]] std::uint32_t gid() const override { return 0; }
    [[nodiscard]] std::uint32_t umask() const override { return 0; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override { return std::vector<std::uint32_t>{}; }

 private:
    std::uint32_t uid_;
};

class OwnDirectoryTest : public fake::FileSystemTest {
 protected:
    std::unique_ptr<FileSystem> make_own(std::optional<std::uint64_t> world_size) {
        FileSystemOptions options;
        if (world_size) {
            options.request = ViewRequest::at_world_size(*world_size);
        }
        options.own_files = {.uid = 1000,
                             .gid = 1001,
                             .files = {{.name = "status",
                                        .text =
                                            [this](const FileSystemState& state) {
                                                last_state_ = state;
                                                return "text " + std::to_string(++made_);
                                            }},
                                       {.name = "large", .text = [](const auto&) { return std::string(70'000, 'x'); }},
                                       {.name = "view", .is_for_all = true, .text = [](const auto&) { return "V"; }}}};
        return make(std::move(options));
    }
    static std::string text_of(const Outcome<std::vector<std::byte>>& value) {
        std::string text;
        for (const std::byte byte : value.value) {
            text += static_cast<char>(byte);
        }
        return value.ok() ? text : "errno " + std::to_string(value.error);
    }

    /// Over the tag that is there.
    void save_again() {
        source_->put_file("step1/a.shard", "AAAA");
        source_->put_file("step1/b.shard", "BBBB");
        pass(1000);
    }

    const User owner_{1000};
    const User root_{0};
    const User stranger_{4711};
    FileSystemState last_state_;
    int made_ = 0;
};

TEST_F(OwnDirectoryTest, IsFoundByNameAndNeverListed) {
    for (const auto world_size : {std::optional<std::uint64_t>(3), std::optional<std::uint64_t>()}) {
        const auto fs = make_own(world_size);
        const auto directory = walk(*fs, ".ckptfs").attributes;
        EXPECT_EQ(directory.type, FileType::directory);
        EXPECT_EQ(directory.mode, 0555U);
        EXPECT_EQ(directory.uid, 1000U);
        EXPECT_THAT(names(*fs, directory.inode), ElementsAre(".", "..", "status", "large", "view"));
        EXPECT_THAT(names(*fs, root_inode), Not(Contains(".ckptfs")));
        EXPECT_EQ(fs->lookup(directory.inode, "absent").error, ENOENT);
        EXPECT_EQ(fs->open(directory.inode).error, EISDIR);
    }
}

TEST_F(OwnDirectoryTest, IsThereInTheRootAlone) {
    const auto fs = make_own(3);
    EXPECT_EQ(fs->lookup(inode(*fs, "plain"), ".ckptfs").error, ENOENT);
    EXPECT_EQ(make(3)->lookup(root_inode, ".ckptfs").error, ENOENT) << "of a mount that says nothing";
    EXPECT_EQ(make_own(std::nullopt)->lookup(root_inode, "world-size-3").error, 0);
}

TEST_F(OwnDirectoryTest, TextsAreMadeWhenTheyAreOpened) {
    const auto fs = make_own(3);
    const auto file = walk(*fs, ".ckptfs/status").attributes;
    EXPECT_EQ(file.size, 0U);
    EXPECT_EQ(file.mode, 0400U);
    EXPECT_EQ(made_, 0);
    const auto opened = fs->open(file.inode);
    ASSERT_TRUE(opened.ok());
    EXPECT_TRUE(opened.value.is_of_now);
    EXPECT_EQ(read_handle(*fs, opened.value.handle).value, "text 1");
    EXPECT_EQ(read_all(*fs, file.inode).value, "text 2");
    EXPECT_EQ(read_handle(*fs, opened.value.handle).value, "text 1");
    fs->release(opened.value.handle);
    EXPECT_EQ(walk(*fs, ".ckptfs/view").attributes.mode, 0444U);
    EXPECT_FALSE(fs->open(inode(*fs, "latest")).value.is_of_now) << "SOURCE's file is what it is";
}

TEST_F(OwnDirectoryTest, NothingInItCanBeWritten) {
    const auto fs = make_own(3);
    const auto file = inode(*fs, ".ckptfs/status");
    EXPECT_EQ(fs->open(file, O_WRONLY, root_).error, EROFS);
    EXPECT_EQ(fs->unlink(inode(*fs, ".ckptfs"), "status", root_).error, EROFS);
    EXPECT_EQ(fs->create(inode(*fs, ".ckptfs"), "new", O_CREAT | O_WRONLY, 0644, root_).error, EROFS);
}

TEST_F(OwnDirectoryTest, WhatSourceHasOfThatNameComesFirst) {
    const auto fs = make_own(3);
    source_->put_file(".ckptfs", "SOURCE's own");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, ".ckptfs")).value, "SOURCE's own");
    EXPECT_THAT(names(*fs, root_inode), Contains(".ckptfs"));
    EXPECT_EQ(text_of(fs->getxattr(root_inode, "user.ckptfs.status", owner_)), "text 1");
    const auto catalogue = make_own(std::nullopt);
    EXPECT_EQ(walk(*catalogue, ".ckptfs").attributes.type, FileType::directory) << "whose root does not show it";
}

TEST_F(OwnDirectoryTest, SpeaksWhereTheSourceDoesNot) {
    const auto fs = make_own(3);
    source_->fail("", Error(ErrorCode::io, "no answer", EIO));
    pass(1000);
    EXPECT_EQ(fs->lookup(root_inode, "latest").error, EIO);
    EXPECT_EQ(read_all(*fs, inode(*fs, ".ckptfs/status")).value, "text 1");
}

TEST_F(OwnDirectoryTest, TheRootHasTheSameTextsAsAttributes) {
    const auto fs = make_own(3);
    EXPECT_EQ(text_of(fs->getxattr(root_inode, "user.ckptfs.status", owner_)), "text 1");
    EXPECT_EQ(text_of(fs->getxattr(root_inode, "user.ckptfs.status", root_)), "text 2");
    EXPECT_EQ(fs->getxattr(root_inode, "user.ckptfs.status", stranger_).error, EACCES);
    EXPECT_EQ(text_of(fs->getxattr(root_inode, "user.ckptfs.view", stranger_)), "V");
    EXPECT_EQ(fs->getxattr(root_inode, "user.ckptfs.large", owner_).error, E2BIG);
    EXPECT_EQ(fs->getxattr(root_inode, "user.ckptfs.absent", owner_).error, ENODATA);
    EXPECT_EQ(fs->getxattr(root_inode, "user.status", owner_).error, ENODATA);
    EXPECT_EQ(fs->getxattr(inode(*fs, "plain"), "user.ckptfs.view", owner_).error, ENODATA);
    EXPECT_THAT(fs->listxattr(root_inode, owner_).value, IsEmpty());
}

TEST_F(OwnDirectoryTest, TheStateIsThatOfNow) {
    const auto fs = make_own(3);
    EXPECT_EQ(fs->state().inodes, 0U);
    EXPECT_EQ(fs->state().generations_read, 0U);
    const auto opened = fs->open(inode(*fs, "step1/rank_0.pt"));
    ASSERT_TRUE(opened.ok());
    const auto listed = fs->opendir(root_inode);
    static_cast<void>(read_all(*fs, inode(*fs, ".ckptfs/status")));
    EXPECT_EQ(last_state_.open_files, 1U) << "the status is opened afterwards";
    EXPECT_EQ(last_state_.open_directories, 1U);
    EXPECT_EQ(last_state_.generations_read, 1U);
    ASSERT_THAT(last_state_.tags, SizeIs(1));
    EXPECT_THAT(last_state_.tags.front().path, HasSubstr("step1"));
    EXPECT_TRUE(last_state_.tags.front().is_read);
    EXPECT_EQ(last_state_.tags.front().problem, "");
    const std::string generation = last_state_.tags.front().generation;
    fs->release(opened.value.handle);
    fs->releasedir(listed.value);
    save_again();
    static_cast<void>(walk(*fs, "step1/rank_0.pt"));
    EXPECT_EQ(fs->state().generations_read, 2U);
    EXPECT_EQ(fs->state().open_files, 0U);
    const auto tags = fs->state().tags;  // the old one, too, as long as the kernel has its files
    EXPECT_TRUE(std::any_of(tags.begin(), tags.end(), [&](const auto& tag) { return tag.generation != generation; }));
}

TEST_F(OwnDirectoryTest, FilesOfViewsSayWhereTheyComeFrom) {
    const auto fs = make(3);
    const auto shard = inode(*fs, "step1/rank_0.pt");
    const std::string generation = text_of(fs->getxattr(shard, generation_name, stranger_));
    EXPECT_THAT(generation, testing::MatchesRegex("[0-9a-f]{16}"));
    EXPECT_EQ(fs->state().tags.front().generation, generation);
    EXPECT_THAT(text_of(fs->getxattr(shard, sources_name, stranger_)), testing::EndsWith("rank_0.pt\n"));
    EXPECT_EQ(fs->getxattr(shard, "user.ckptfs.else", stranger_).error, ENODATA);
    EXPECT_THAT(fs->listxattr(shard, stranger_).value, IsEmpty()) << "copies would take them along";
    EXPECT_EQ(fs->getxattr(inode(*fs, "latest"), generation_name, stranger_).error, ENODATA);
    save_again();
    EXPECT_NE(text_of(fs->getxattr(inode(*fs, "step1/rank_0.pt"), generation_name, stranger_)), generation);
}

}  // namespace
}  // namespace ckptfs
