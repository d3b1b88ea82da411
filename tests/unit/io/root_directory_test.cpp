// The directory behind a Source, removed and replaced under its name.
#include <gmock/gmock.h>

#include <filesystem>

#include "io/posix_source.h"
#include "support/fake_caller.h"
#include "support/fake_files.h"
#include "support/faulty_system_calls.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace {

using test::FaultySystemCalls;
using test::read_all;
using testing::HasSubstr;
using testing::IsEmpty;

class ReplacedRoot : public testing::Test {
 protected:
    void SetUp() override {
        std::filesystem::create_directory(directory_ / "tree");
        directory_.write("tree/file", "old");
        tree_ = *DirectorySource::open_directory(directory_ / "tree", calls_);
    }
    void replace() {
        std::filesystem::rename(directory_ / "tree", directory_ / "elsewhere");
        std::filesystem::create_directory(directory_ / "tree");
        directory_.write("tree/file", "new");
    }

    test::TemporaryDirectory directory_;
    std::shared_ptr<FaultySystemCalls> calls_ = std::make_shared<FaultySystemCalls>();
    std::shared_ptr<const DirectorySource> tree_;
};

TEST_F(ReplacedRoot, IsFollowed) {
    const auto old = *tree_->open("file");
    replace();
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "new");
    EXPECT_EQ(*read_all(*old), "old") << "what is open stays what it is";
    tree_->release_unused();
    tree_->release_unused();
    EXPECT_EQ(*read_all(*old), "old") << "also when it is opened again";
}

TEST_F(ReplacedRoot, IsFollowedThroughALink) {
    std::filesystem::create_directory_symlink("tree", directory_ / "current");
    tree_ = *DirectorySource::open_directory(directory_ / "current", calls_);
    std::filesystem::create_directory(directory_ / "next");
    directory_.write("next/file", "next");
    std::filesystem::remove(directory_ / "current");
    std::filesystem::create_directory_symlink("next", directory_ / "current");
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "next");
}

TEST_F(ReplacedRoot, FailsWhileThereIsNone) {
    std::filesystem::remove_all(directory_ / "tree");
    tree_->refresh();
    for (const auto& failure : {tree_->list("").error(), tree_->stat("").error(), tree_->open("file").error(),
                                tree_->stat_target("file").error(), tree_->read_link("file").error()}) {
        EXPECT_EQ(failure.code(), ErrorCode::stale);
        EXPECT_THAT(failure.message(), HasSubstr(directory_ / "tree' is gone"));
    }
    directory_.write("tree", "a file of that name");
    tree_->refresh();
    EXPECT_EQ(tree_->list("").error().code(), ErrorCode::stale);
    std::filesystem::remove(directory_ / "tree");
    std::filesystem::create_directory(directory_ / "tree");
    tree_->refresh();
    EXPECT_THAT(*tree_->list(""), IsEmpty());
}

TEST_F(ReplacedRoot, ComesBackAsItWas) {
    std::filesystem::rename(directory_ / "tree", directory_ / "elsewhere");
    tree_->refresh();
    EXPECT_FALSE(tree_->list("").ok());
    std::filesystem::rename(directory_ / "elsewhere", directory_ / "tree");
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "old");
}

TEST_F(ReplacedRoot, IsNotFollowedWhereItIsHeld) {
    tree_ = *DirectorySource::open_directory(directory_ / "tree", calls_, least_descriptors, RootIs::held);
    replace();
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "old");
    std::filesystem::remove_all(directory_ / "tree");
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "old") << "whatever becomes of its name";
    EXPECT_TRUE(tree_->writer()->remove_file("file", test::FakeCaller()).ok());
    EXPECT_FALSE(std::filesystem::exists(directory_ / "elsewhere/file"));
    EXPECT_THAT(*tree_->list(""), IsEmpty());
}

TEST_F(ReplacedRoot, IsWrittenWhereItIsRead) {
    replace();
    tree_->refresh();
    EXPECT_TRUE(tree_->writer()->remove_file("file", test::FakeCaller()).ok());
    EXPECT_FALSE(std::filesystem::exists(directory_ / "tree/file"));
    EXPECT_TRUE(std::filesystem::exists(directory_ / "elsewhere/file"));
}

TEST_F(ReplacedRoot, IsNotFollowedIntoAViewOfItself) {
    replace();
    calls_->everything_is_a_view = true;
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "old");
}

TEST_F(ReplacedRoot, IsNotLookedForWhereTheWorkingDirectoryIsNow) {
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(directory_.path());
    tree_ = *DirectorySource::open_directory("tree", calls_);
    std::filesystem::current_path(before);
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "old");
    replace();
    tree_->refresh();
    EXPECT_EQ(*read_all(**tree_->open("file")), "new");
}

}  // namespace
}  // namespace ckptfs::io
