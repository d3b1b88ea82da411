// What passes through a mount that can be written is SOURCE's, whatever is done to it.
#include <cstdio>

#include "writable_fixture.h"

namespace writable_files {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using WritableFiles = WritableTest;

TEST_F(WritableFiles, AreMadeAndReadInSource) {
    EXPECT_EQ(program_.mkdir("runs", 0700), 0);
    EXPECT_EQ(program_.write("runs/notes", "hello", O_WRONLY | O_CREAT | O_EXCL, 0666), 0);
    EXPECT_EQ(source_text("runs/notes"), "hello");
    EXPECT_EQ(source_stat("runs/notes").st_mode & 07777U, 0644U);
    EXPECT_EQ(source_stat("runs").st_mode & 07777U, 0700U);
    EXPECT_EQ(program_.read("runs/notes").value, "hello");
    EXPECT_EQ(program_.stat("runs/notes").value.mode, 0644U);
    EXPECT_EQ(program_.stat("runs/notes").value.size, 5U);
    EXPECT_EQ(program_.write("runs/notes", "again", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
    EXPECT_EQ(program_.mkdir("runs"), EEXIST);
    EXPECT_EQ(program_.write("runs/notes", " world", O_WRONLY | O_APPEND), 0);
    EXPECT_EQ(source_text("runs/notes"), "hello world");
    EXPECT_EQ(program_.write("runs/notes", "J", O_RDWR), 0);
    EXPECT_EQ(program_.read("runs/notes").value, "Jello world");
    EXPECT_EQ(program_.write("runs/notes", "x"), 0);
    EXPECT_EQ(source_text("runs/notes"), "x");
    EXPECT_EQ(program_.truncate("runs/notes", 3), 0);
    EXPECT_EQ(source_text("runs/notes"), std::string("x\0\0", 3));
    EXPECT_EQ(program_.unlink("runs/notes"), 0);
    EXPECT_EQ(program_.unlink("runs/notes"), ENOENT);
    EXPECT_EQ(program_.rmdir("runs"), 0);
    EXPECT_THAT(in_source(), IsEmpty());
}

TEST_F(WritableFiles, KeepTheirInodeWhateverIsWritten) {
    ASSERT_EQ(program_.write("log", "a"), 0);
    const auto inode = program_.stat("log").value.inode;
    ASSERT_EQ(program_.write("log", "bb", O_WRONLY | O_APPEND), 0);
    EXPECT_EQ(program_.stat("log").value.inode, inode);
    ASSERT_EQ(program_.link("log", "log2"), 0);
    EXPECT_EQ(program_.stat("log2").value.inode, inode);
    EXPECT_EQ(program_.stat("log2").value.nlink, 2U);
    ASSERT_EQ(program_.rename("log", "log3"), 0);
    EXPECT_EQ(program_.stat("log3").value.inode, inode);
    ASSERT_EQ(program_.write("log", "other"), 0);
    EXPECT_NE(program_.stat("log").value.inode, inode);
    ASSERT_EQ(program_.mkdir("d"), 0);
    const auto directory = program_.stat("d").value.inode;
    ASSERT_EQ(program_.write("d/x", "x"), 0);
    pass(5'000);
    EXPECT_EQ(program_.stat("d").value.inode, directory);
    EXPECT_EQ(program_.stat("d").value.nlink, source_stat("d").st_nlink);
}

/// What is made after something was removed. Most file systems give it the number that is free now, unless another
/// process takes that first; what is expected holds in either case.
class ReusedNumber : public WritableTest {
 protected:
    /// Of `path`, which `make` has made before, after `leave`, which has it go, and `make_next`, which makes `next`.
    template <class Leave, class MakeNext>
    void expect_another_inode(const std::string& path, const std::string& next, Leave leave, MakeNext make_next) {
        const auto before = program_.stat(path).value.inode;
        ASSERT_EQ(leave(), 0);
        ASSERT_EQ(make_next(), 0);
        const auto now = program_.stat(next).value.inode;
        EXPECT_NE(now, before);
        EXPECT_EQ(program_.stat(next).value.inode, now);
        EXPECT_EQ(file_system_->getattr(before).error, ESTALE);
        EXPECT_TRUE(file_system_->getattr(now).ok());
    }
};

TEST_F(ReusedNumber, OfADirectory) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    expect_another_inode(
        "d", "e", [&] { return program_.rmdir("d"); }, [&] { return program_.mkdir("e"); });
    EXPECT_EQ(program_.write("e/x", "x"), 0);
    EXPECT_EQ(source_text("e/x"), "x");
}

TEST_F(ReusedNumber, OfADirectoryUnderTheSameName) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    expect_another_inode(
        "d", "d", [&] { return program_.rmdir("d"); }, [&] { return program_.mkdir("d"); });
}

TEST_F(ReusedNumber, OfADirectoryThatAnotherNodeMakes) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    expect_another_inode(
        "d", "e", [&] { return program_.rmdir("d"); },
        [&] { return std::filesystem::create_directory(directory_ / "e") ? 0 : EIO; });
}

TEST_F(ReusedNumber, OfADirectoryThatAnotherNodeRemoved) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    expect_another_inode(
        "d", "e", [&] { return std::filesystem::remove(directory_ / "d") ? 0 : EIO; },
        [&] { return program_.mkdir("e"); });
}

TEST_F(ReusedNumber, OfADirectoryThatARenameReplaces) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    ASSERT_EQ(program_.mkdir("e"), 0);
    const auto moved = program_.stat("e").value.inode;
    expect_another_inode(
        "d", "f", [&] { return program_.rename("e", "d"); }, [&] { return program_.mkdir("f"); });
    EXPECT_EQ(program_.stat("d").value.inode, moved);
}

TEST_F(ReusedNumber, OfAFile) {
    ASSERT_EQ(program_.write("a", "1"), 0);
    expect_another_inode(
        "a", "b", [&] { return program_.unlink("a"); }, [&] { return program_.write("b", "2"); });
    EXPECT_EQ(program_.read("b").value, "2");
}

TEST_F(ReusedNumber, OfAShard) {
    ASSERT_EQ(program_.write("rank_0.shard", "1"), 0);
    expect_another_inode(
        "rank_0.shard", "b", [&] { return program_.unlink("rank_0.shard"); }, [&] { return program_.write("b", "2"); });
}

TEST_F(ReusedNumber, OfAFileThatARenameReplaces) {
    ASSERT_EQ(program_.write("a", "1"), 0);
    ASSERT_EQ(program_.write("b", "2"), 0);
    const auto moved = program_.stat("b").value.inode;
    expect_another_inode(
        "a", "c", [&] { return program_.rename("b", "a"); }, [&] { return program_.write("c", "3"); });
    EXPECT_EQ(program_.stat("a").value.inode, moved);
}

TEST_F(ReusedNumber, IsNoneWhileAFileHasAnotherName) {
    ASSERT_EQ(program_.write("a", "1"), 0);
    ASSERT_EQ(program_.link("a", "b"), 0);
    const auto inode = program_.stat("a").value.inode;
    ASSERT_EQ(program_.unlink("a"), 0);
    EXPECT_EQ(program_.stat("b").value.inode, inode);
    ASSERT_EQ(program_.mkdir("d"), 0);
    ASSERT_EQ(program_.write("d/x", "x"), 0);
    const auto directory = program_.stat("d").value.inode;
    ASSERT_EQ(program_.rmdir("d"), ENOTEMPTY);
    EXPECT_EQ(program_.stat("d").value.inode, directory);
}

TEST_F(WritableFiles, AreFoundByAnyOfTheirNames) {
    ASSERT_EQ(program_.write("a", "text"), 0);
    ASSERT_EQ(program_.link("a", "b"), 0);
    const auto inode = program_.stat("b").value.inode;
    ASSERT_EQ(program_.stat("a").value.inode, inode);
    ASSERT_EQ(program_.unlink("a"), 0);
    EXPECT_EQ(file_system_->getattr(inode).value.attributes.nlink, 1U);
    ASSERT_EQ(program_.rename("b", "c"), 0);
    EXPECT_TRUE(file_system_->getattr(inode).ok());
    EXPECT_TRUE(file_system_->setattr(inode, std::nullopt, {.mode = 0600}, program_.user()).ok());
    EXPECT_EQ(source_stat("c").st_mode & 0777U, 0600U);
    ASSERT_EQ(program_.unlink("c"), 0);
    EXPECT_EQ(file_system_->getattr(inode).error, ESTALE);
    EXPECT_EQ(file_system_->open(inode, O_RDONLY, program_.user()).error, ESTALE);
}

TEST_F(WritableFiles, LiveOnWhileTheyAreOpen) {
    const auto file = program_.open("a", O_RDWR | O_CREAT | O_EXCL);
    ASSERT_EQ(file.error, 0);
    ASSERT_EQ(program_.unlink("a"), 0);
    ASSERT_EQ(program_.write("a", "another file"), 0);
    EXPECT_EQ(program_.write_to(file, 0, "abc"), 0);
    EXPECT_EQ(program_.read_from(file).value, "abc");
    EXPECT_EQ(file_system_->getattr(file.inode).value.attributes.size, 3U);
    EXPECT_EQ(file_system_->getattr(file.inode).value.attributes.nlink, 0U);
    EXPECT_EQ(file_system_->setattr(file.inode, file.handle, {.size = 1}, program_.user()).value.attributes.size, 1U);
    EXPECT_EQ(file_system_->setattr(file.inode, std::nullopt, {.mode = 0600}, program_.user()).value.attributes.mode,
              0600U);
    EXPECT_EQ(source_text("a"), "another file");
    EXPECT_EQ(source_stat("a").st_mode & 0777U, 0644U);
    program_.close(file);
    EXPECT_EQ(file_system_->getattr(file.inode).error, ESTALE);
}

TEST_F(WritableFiles, ThatSomebodyReplacedAreNotMistakenForTheOldOnes) {
    ASSERT_EQ(program_.write("a", "old"), 0);
    const auto old = program_.stat("a").value.inode;
    directory_.write("b", "new");
    std::filesystem::rename(directory_ / "b", directory_ / "a");
    const Caller& user = program_.user();
    EXPECT_EQ(file_system_->open(old, O_WRONLY | O_TRUNC, user).error, ESTALE);
    EXPECT_EQ(file_system_->open(old, O_RDONLY, user).error, ESTALE);
    EXPECT_EQ(file_system_->setattr(old, std::nullopt, {.size = 0}, user).error, ESTALE);
    EXPECT_EQ(file_system_->setattr(old, std::nullopt, {.mode = 0}, user).error, ESTALE);
    EXPECT_EQ(file_system_->getxattr(old, "user.x", user).error, ESTALE);
    EXPECT_EQ(file_system_->link(old, root_inode, "c", user).error, ESTALE);
    EXPECT_EQ(source_text("a"), "new");
    EXPECT_EQ(program_.write("a", "newer"), 0);
    EXPECT_EQ(source_text("a"), "newer");
}

TEST_F(WritableFiles, OfADirectoryThatSomebodyReplacedAreNotMadeInTheNewOne) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    const auto old = program_.stat("d").value.inode;
    std::filesystem::rename(directory_ / "d", directory_ / "moved");
    std::filesystem::create_directory(directory_ / "d");
    const Caller& user = program_.user();
    EXPECT_EQ(file_system_->create(old, "x", O_WRONLY | O_CREAT, 0644, user).error, ESTALE);
    EXPECT_EQ(file_system_->mkdir(old, "x", 0755, user).error, ESTALE);
    EXPECT_EQ(file_system_->unlink(old, "x", user).error, ESTALE);
    EXPECT_EQ(file_system_->opendir(old).error, ESTALE);
    EXPECT_THAT(in_source("d"), IsEmpty());
    // Found again under its new name, it is the same, and so is all below it.
    ASSERT_EQ(program_.mkdir("moved/e"), 0);
    const auto below = program_.stat("moved/e").value.inode;
    EXPECT_EQ(program_.stat("moved").value.inode, old);
    std::filesystem::rename(directory_ / "moved", directory_ / "again");
    EXPECT_EQ(program_.stat("again").value.inode, old);
    EXPECT_TRUE(file_system_->mkdir(below, "f", 0755, user).ok());
    EXPECT_THAT(in_source("again/e"), ElementsAre("f"));
}

TEST_F(WritableFiles, AreRenamedAsSourceRenamesThem) {
    ASSERT_EQ(program_.write("a", "A"), 0);
    ASSERT_EQ(program_.write("b", "B"), 0);
    EXPECT_EQ(program_.rename("a", "b", RENAME_NOREPLACE), EEXIST);
    EXPECT_EQ(program_.rename("a", "b", RENAME_EXCHANGE), 0);
    EXPECT_EQ(program_.read("a").value, "B");
    EXPECT_EQ(program_.rename("a", "b"), 0);
    EXPECT_THAT(in_source(), ElementsAre("b"));
    EXPECT_EQ(source_text("b"), "B");
    ASSERT_EQ(program_.mkdir("d"), 0);
    ASSERT_EQ(program_.mkdir("d/e"), 0);
    EXPECT_EQ(program_.rename("b", "d/e/b"), 0);
    const auto inode = program_.stat("d/e/b").value.inode;
    EXPECT_EQ(program_.rename("d", "d/e/d"), EINVAL);
    EXPECT_EQ(program_.rename("d", "f"), 0);
    EXPECT_EQ(file_system_->getattr(inode).error, 0);  // without having been looked up again
    EXPECT_EQ(program_.read("f/e/b").value, "B");
    const auto listing = file_system_->opendir(program_.stat("f/e").value.inode);
    ASSERT_TRUE(file_system_
                    ->readdir(listing.value, 1,
                              [&](const ListedEntry& entry) {
                                  EXPECT_EQ(entry.inode, program_.stat("f").value.inode);
                                  return false;
                              })
                    .ok());
}

TEST_F(WritableFiles, KeepPagesOnlyOfBytesThatCannotHaveChanged) {
    ASSERT_EQ(program_.write("a", "A"), 0);
    const auto keeps = [&] {
        const auto opened = program_.open("a", O_RDONLY);
        program_.close(opened);
        return opened.keeps_pages;
    };
    EXPECT_FALSE(keeps());
    EXPECT_FALSE(keeps());  // it may be written again under the same time
    settle();
    EXPECT_FALSE(keeps());
    EXPECT_TRUE(keeps());
    EXPECT_TRUE(keeps());
    directory_.write("a", "B");
    EXPECT_FALSE(keeps());
}

TEST_F(WritableFiles, HaveHolesAndAreCopied) {
    const auto file = program_.open("a", O_RDWR | O_CREAT);
    ASSERT_EQ(program_.write_to(file, 0, "abcdef"), 0);
    const auto copy = program_.open("b", O_RDWR | O_CREAT);
    const Caller& user = program_.user();
    EXPECT_EQ(file_system_->copy_file_range(file.handle, 2, copy.handle, 0, 3, user).value, 3U);
    EXPECT_EQ(source_text("b"), "cde");
    EXPECT_TRUE(file_system_->fallocate(copy.handle, 0, 0, 8192, user).ok());
    EXPECT_EQ(program_.stat("b").value.size, 8192U);
    EXPECT_EQ(file_system_->lseek(file.handle, 2, SEEK_DATA).value, 2U);
    EXPECT_EQ(file_system_->lseek(file.handle, 2, SEEK_HOLE).value, 6U);
    EXPECT_TRUE(file_system_->flush(file.handle).ok());
    EXPECT_TRUE(file_system_->fsync(file.handle, true).ok());
    const auto directory = file_system_->opendir(root_inode);
    EXPECT_TRUE(file_system_->fsyncdir(directory.value, false).ok());
}

TEST_F(WritableFiles, AreOfEveryType) {
    EXPECT_EQ(program_.mknod("pipe", S_IFIFO | 0600), 0);
    EXPECT_TRUE(S_ISFIFO(source_stat("pipe").st_mode));
    EXPECT_EQ(program_.stat("pipe").value.type, FileType::fifo);
    EXPECT_EQ(program_.open("pipe", O_RDONLY).error, ENXIO);
    EXPECT_EQ(program_.mknod("file", S_IFREG | 0600), 0);
    EXPECT_EQ(program_.read("file").value, "");
    ASSERT_EQ(program_.mkdir("d"), 0);
    EXPECT_EQ(program_.open("d", O_WRONLY).error, EISDIR);
    EXPECT_EQ(program_.unlink("d"), EISDIR);
    EXPECT_EQ(program_.rmdir("file"), ENOTDIR);
    EXPECT_EQ(program_.mkdir(std::string(300, 'x')), ENAMETOOLONG);
}

TEST_F(WritableFiles, LinksThatStayInTheMountAreShownAsTheyAre) {
    ASSERT_EQ(program_.mkdir("d"), 0);
    ASSERT_EQ(program_.symlink("../d", "d/link"), 0);
    const auto inode = program_.stat("d/link").value.inode;
    EXPECT_EQ(program_.stat("d/link").value.type, FileType::symlink);
    EXPECT_EQ(file_system_->readlink(inode).value, "../d");
    EXPECT_EQ(file_system_->open(inode, O_RDONLY, program_.user()).error, ELOOP);
    EXPECT_EQ(program_.rename("d/link", "d/link2"), 0);
    EXPECT_EQ(file_system_->readlink(inode).value, "../d");
    EXPECT_EQ(program_.change("d/link2", {.mtime = AttributeChange::Time{.is_now = false, .ns = 7'000'000'000}}), 0);
    EXPECT_EQ(source_stat("d/link2").st_mtim.tv_sec, 7);
    EXPECT_EQ(program_.unlink("d/link2"), 0);
    EXPECT_THAT(in_source("d"), IsEmpty());
}

TEST_F(WritableFiles, LinksThatLeadOutShowWhatIsThereReadOnly) {
    TemporaryDirectory outside;
    outside.write("file", "out");
    std::filesystem::create_directory(outside / "d");
    outside.write("d/x", "y");
    ASSERT_EQ(program_.symlink(outside / "file", "file"), 0);
    ASSERT_EQ(program_.symlink(outside / "d", "d"), 0);
    ASSERT_EQ(program_.symlink(directory_ / "real", "inside"), 0);
    ASSERT_EQ(program_.write("real", "r"), 0);
    const auto made = file_system_->symlink(root_inode, "made", outside / "d", program_.user());
    EXPECT_EQ(made.value.attributes.type, FileType::symlink);  // for now
    EXPECT_EQ(made.value.entry_lifetime.count(), 0);
    EXPECT_EQ(program_.rename("made", "d2"), 0);
    EXPECT_EQ(program_.stat("file").value.type, FileType::regular);
    EXPECT_EQ(program_.stat("file").value.mode & 0222U, 0U);
    EXPECT_EQ(program_.read("file").value, "out");
    EXPECT_EQ(program_.read("d/x").value, "y");
    EXPECT_EQ(program_.write("file", "no"), EROFS);
    EXPECT_EQ(program_.write("d/x", "no"), EROFS);
    EXPECT_EQ(program_.write("d/new", "no"), EROFS);
    EXPECT_EQ(program_.mkdir("d/new"), EROFS);
    EXPECT_EQ(program_.unlink("d/x"), EROFS);
    EXPECT_EQ(program_.chmod("file", 0), EROFS);
    EXPECT_EQ(program_.rename("d/x", "x"), EROFS);
    EXPECT_EQ(program_.rename("real", "d/x"), EROFS);
    EXPECT_EQ(program_.link("d/x", "x"), EXDEV);
    EXPECT_EQ(file_system_->readlink(program_.stat("inside").value.inode).value, "real");
    EXPECT_EQ(program_.rename("file", "file2"), 0);  // the link itself is SOURCE's
    EXPECT_EQ(program_.unlink("file2"), 0);
    EXPECT_EQ(file_bytes(outside / "file"), "out");
    EXPECT_THAT(in_source(), ::testing::UnorderedElementsAre("d", "d2", "inside", "real"));
}

TEST_F(WritableFiles, LinksInPlaceAreAllShownAsTheyAre) {
    file_system_ = make(own_size, true);
    Program program(*file_system_);
    ASSERT_EQ(program.symlink("/etc", "etc"), 0);
    ASSERT_EQ(program.symlink("../..", "up"), 0);
    EXPECT_EQ(file_system_->readlink(program.stat("etc").value.inode).value, "/etc");
    EXPECT_EQ(file_system_->readlink(program.stat("up").value.inode).value, "../..");
    EXPECT_EQ(program.stat("etc").value.type, FileType::symlink);
}

TEST_F(WritableFiles, ForgetNothingThatTheKernelKnows) {
    ASSERT_EQ(program_.write("a", "A"), 0);
    const auto live = file_system_->live_inodes();
    const auto inode = program_.stat("a").value.inode;
    EXPECT_EQ(file_system_->live_inodes(), live);
    file_system_->forget(inode, 100);
    EXPECT_EQ(file_system_->live_inodes(), live - 1);
    EXPECT_EQ(program_.read("a").value, "A");
}

}  // namespace
}  // namespace writable_files
