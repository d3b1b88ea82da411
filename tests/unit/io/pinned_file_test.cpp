// Files of a DirectorySource: what counts as a change, when descriptors are closed, and waiting.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <thread>

#include "io/posix_source.h"
#include "io/unique_fd.h"
#include "support/fake_files.h"
#include "support/faulty_system_calls.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace {

using test::FaultySystemCalls;
using test::read_all;
using testing::HasSubstr;

class PinnedFileTest : public testing::Test {
 protected:
    std::shared_ptr<const DirectorySource> source() {
        constexpr std::uint64_t least = 1;  // so that a test can have the smallest pool
        auto opened = DirectorySource::open_directory(directory_.path(), calls_, least);
        EXPECT_TRUE(opened.ok()) << opened.error().message();
        return *opened;
    }

    test::TemporaryDirectory directory_;
    std::shared_ptr<FaultySystemCalls> calls_ = std::make_shared<FaultySystemCalls>();
};

TEST_F(PinnedFileTest, WhatAnotherReasonThanWritingExplainsIsNoChange) {
    using Change = std::function<void(const std::string&)>;
    const std::vector<std::pair<std::string, Change>> changes = {
        {"linked", [&](const std::string& path) { std::filesystem::create_hard_link(path, directory_ / "link"); }},
        {"unlinked elsewhere", [&](const std::string&) { std::filesystem::remove(directory_ / "link"); }},
        {"mode", [](const std::string& path) { ::chmod(path.c_str(), 0640); }},
    };
    directory_.write("file", "abc");
    directory_.write("other", "x");
    calls_->descriptor_limit = 2;  // a pool of one
    const auto tree = source();
    for (const auto& [name, change] : changes) {
        const auto file = *tree->open("file");
        change(directory_ / "file");
        const auto pooled = read_all(*file);
        ASSERT_TRUE(pooled.ok()) << name << ": " << pooled.error().message();
        EXPECT_EQ(*pooled, "abc") << name;
        ASSERT_TRUE(tree->open("other").ok());
        const auto opened_again = read_all(*file);
        ASSERT_TRUE(opened_again.ok()) << name << ": " << opened_again.error().message();
    }
}

TEST_F(PinnedFileTest, HandsOverItsDescriptorAndIsCheckedAfterwards) {
    directory_.write("file", "0123456789");
    const auto file = *source()->open("file");
    test::CollectingTarget target;
    FilesRead read;
    ASSERT_TRUE(*file->hand_over_unchecked(3, 4, target, read));
    EXPECT_EQ(target.bytes, "3456");
    EXPECT_TRUE(read.check().ok());
    EXPECT_EQ(file->hand_over_unchecked(3, 8, target, read).error().code(), ErrorCode::invalid_argument);
    std::filesystem::resize_file(directory_ / "file", 5);
    EXPECT_FALSE(*file->hand_over_unchecked(3, 4, target, read)) << "not all of it is there";
    EXPECT_EQ(read.check().error().code(), ErrorCode::stale);
}

TEST_F(PinnedFileTest, ManyReadsAreCheckedByOneLookAtEachFile) {
    directory_.write("a", "abc");
    directory_.write("b", "xyz");
    const auto tree = source();
    const auto a = *tree->open("a");
    const auto b = *tree->open("b");
    const std::uint64_t before = calls_->stats;
    FilesRead read;
    std::array<std::byte, 2> bytes{};
    for (std::uint64_t i = 0; i < 50; ++i) {
        ASSERT_TRUE(a->read_unchecked(i % 2, bytes, read).ok());
        ASSERT_TRUE(b->read_unchecked(i % 2, bytes, read).ok());
    }
    EXPECT_EQ(calls_->stats, before);
    EXPECT_TRUE(read.check().ok());
    EXPECT_EQ(calls_->stats, before + 2);
    directory_.write("a", "changed");
    ASSERT_TRUE(b->read_unchecked(0, bytes, read).ok());
    EXPECT_EQ(read.check().error().code(), ErrorCode::stale) << "whichever was read last";
}

TEST_F(PinnedFileTest, OneThatIsNotOpenAnyMoreIsCheckedByItsName) {
    directory_.write("file", "abc");
    directory_.write("other", "x");
    calls_->descriptor_limit = 2;  // a pool of one
    const auto tree = source();
    const auto file = *tree->open("file");
    ASSERT_TRUE(tree->open("other").ok());
    const std::uint64_t opens = calls_->opens;
    EXPECT_TRUE(file->check().ok());
    directory_.write("file", "abX!");
    EXPECT_EQ(file->check().error().code(), ErrorCode::stale);
    std::filesystem::remove(directory_ / "file");
    EXPECT_EQ(file->check().error().code(), ErrorCode::stale);
    EXPECT_EQ(calls_->opens, opens);
}

TEST_F(PinnedFileTest, AFewMoreFilesThanThereIsRoomForCostAFewOpenings) {
    calls_->descriptor_limit = 200;  // a pool of 100
    const auto tree = source();
    std::vector<std::shared_ptr<const File>> files;
    const auto opens_of_a_round = [&] {
        const std::uint64_t before = calls_->opens;
        for (const auto& file : files) {
            EXPECT_TRUE(read_all(*file).ok());
        }
        return calls_->opens - before;
    };
    for (int i = 0; i < 107; ++i) {
        const std::string name = std::to_string(i);
        directory_.write(name, name);
        files.push_back(*tree->open(name));
        if (i == 99) {
            EXPECT_EQ(opens_of_a_round(), 0U);
        }
    }
    std::uint64_t opens = 0;
    constexpr int rounds = 20;
    for (int round = 0; round < rounds; ++round) {
        opens += opens_of_a_round();
    }
    EXPECT_GE(opens, std::uint64_t{rounds} * 7);
    EXPECT_LE(opens, std::uint64_t{rounds} * 25) << "of 107 files";
}

TEST_F(PinnedFileTest, AnotherInodeNumberIsNoChangeWhereTheFileSystemMakesThemUp) {
    directory_.write("file", "abc");
    directory_.write("other", "x");
    calls_->descriptor_limit = 2;  // a pool of one
    calls_->forgets_inodes = true;
    for (const bool is_fuse : {true, false}) {
        calls_->everything_is_fuse = is_fuse;
        const auto tree = source();
        EXPECT_NE(tree->stat("file")->stamp.inode, tree->stat("file")->stamp.inode);
        EXPECT_EQ(tree->stat("file")->stamp == tree->stat_target("file")->stamp, is_fuse);
        const auto file = *tree->open("file");
        ASSERT_TRUE(tree->open("other").ok());
        EXPECT_EQ(file->check().ok(), is_fuse);
        EXPECT_EQ(read_all(*file).ok(), is_fuse) << "it is opened again";
    }
    calls_->everything_is_fuse = true;
    const auto tree = source();
    const auto file = *tree->open("file");
    const FileStamp before = tree->stat("file")->stamp;
    directory_.write("file", "abcd");
    EXPECT_NE(tree->stat("file")->stamp, before);
    ASSERT_TRUE(tree->open("other").ok());
    EXPECT_EQ(read_all(*file).error().code(), ErrorCode::stale) << "it has another size, as the stamp says";
}

TEST_F(PinnedFileTest, WhatServesAFileSystemIsAskedForOnce) {
    directory_.write("file", "abc");
    const auto tree = source();
    ASSERT_TRUE(tree->stat("file").ok());
    const std::uint64_t questions = calls_->fuse_questions;
    EXPECT_EQ(questions, 1U);
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(tree->stat_target("file").ok());
        ASSERT_TRUE(tree->open("file").ok());
    }
    EXPECT_EQ(calls_->fuse_questions, questions);
}

TEST_F(PinnedFileTest, WhatWasWrittenIsAChangeEvenWithTheTimeSetBack) {
    directory_.write("file", "abc");
    const auto file = *source()->open("file");
    struct stat before {};
    ASSERT_EQ(::stat((directory_ / "file").c_str(), &before), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the file system's clock ticks that slowly
    directory_.write("file", "abX");
    const std::array<timespec, 2> times{before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, (directory_ / "file").c_str(), times.data(), 0), 0);
    EXPECT_EQ(read_all(*file).error().code(), ErrorCode::stale);
}

TEST_F(PinnedFileTest, ARemovedFileIsGoneHoweverManyLinksItHad) {
    directory_.write("file", "abc");
    std::filesystem::create_hard_link(directory_ / "file", directory_ / "link");
    const auto tree = source();
    const auto file = *tree->open("file");
    std::filesystem::remove(directory_ / "link");
    EXPECT_TRUE(read_all(*file).ok());
    std::filesystem::remove(directory_ / "file");
    EXPECT_EQ(read_all(*file).error().code(), ErrorCode::stale);
    EXPECT_EQ(tree->open_descriptors(), 0U) << "its disk is kept";
}

TEST_F(PinnedFileTest, TheSystemCopiesARangeIntoADescriptor) {
    const std::string bytes = test::random_bytes(300'000, 1);
    directory_.write("file", bytes);
    directory_.write("copy", "front");
    const auto file = *source()->open("file");
    const UniqueFd copy(::open((directory_ / "copy").c_str(), O_RDWR));
    calls_->longest_copy = 7'000;
    calls_->interrupted_copies = 1;
    const auto copied = file->copy_to(11, 250'000, copy.get(), 5);
    ASSERT_TRUE(copied.ok()) << copied.error().message();
    EXPECT_TRUE(*copied);
    EXPECT_EQ(test::file_bytes(directory_ / "copy"), "front" + bytes.substr(11, 250'000));
    EXPECT_TRUE(*file->copy_to(300'000, 0, copy.get(), 0));
    EXPECT_EQ(file->copy_to(300'000, 1, copy.get(), 0).error().code(), ErrorCode::invalid_argument);
}

TEST_F(PinnedFileTest, WhatTheSystemDoesNotCopyIsLeftToTheReader) {
    directory_.write("file", "abc");
    directory_.write("copy", "");
    const auto file = *source()->open("file");
    const UniqueFd copy(::open((directory_ / "copy").c_str(), O_RDWR));
    for (const int failure : {EXDEV, EOPNOTSUPP, EINVAL, ENOSPC, EIO}) {
        calls_->copy_errno = failure;
        calls_->failing_copies = 1;
        const auto copied = file->copy_to(0, 3, copy.get(), 0);
        ASSERT_TRUE(copied.ok()) << failure << ": " << copied.error().message();
        EXPECT_FALSE(*copied) << failure;
    }
    EXPECT_FALSE(*file->copy_to(0, 3, -1, 0)) << "no descriptor";
    EXPECT_TRUE(*file->copy_to(0, 3, copy.get(), 0));
}

TEST_F(PinnedFileTest, WhatHasChangedIsNotCopied) {
    directory_.write("file", "abc");
    directory_.write("copy", "");
    const auto file = *source()->open("file");
    const UniqueFd copy(::open((directory_ / "copy").c_str(), O_RDWR));
    directory_.write("file", "longer");
    EXPECT_EQ(file->copy_to(0, 3, copy.get(), 0).error().code(), ErrorCode::stale);
    directory_.write("file", "");
    EXPECT_EQ(file->copy_to(0, 3, copy.get(), 0).error().code(), ErrorCode::stale);
}

TEST_F(PinnedFileTest, DescriptorsThatNobodyUsesAreClosed) {
    directory_.write("idle", "abc");
    directory_.write("busy", "abc");
    const auto tree = source();
    const auto idle = *tree->open("idle");
    const auto busy = *tree->open("busy");
    tree->release_unused();
    EXPECT_EQ(tree->open_descriptors(), 2U) << "both were used since the start";
    ASSERT_TRUE(read_all(*busy).ok());
    tree->release_unused();
    EXPECT_EQ(tree->open_descriptors(), 1U);
    const std::uint64_t opens = calls_->opens;
    ASSERT_TRUE(read_all(*busy).ok());
    EXPECT_EQ(calls_->opens, opens) << "the busy one is the one that stays";
    EXPECT_EQ(*read_all(*idle), "abc") << "it is opened again";
}

TEST_F(PinnedFileTest, AFileIsFoundAgainInADirectoryThatWasRenamed) {
    const auto path = [&](const std::string& name) { return directory_ / name; };
    std::filesystem::create_directories(path("a/b"));
    std::filesystem::create_directory(path("other"));
    directory_.write("a/b/file", "abc");
    directory_.write("other/file", "xyz");
    const auto tree = source();
    const auto file = *tree->open("a/b/file");
    const auto closed = [&] {
        tree->release_unused();
        tree->release_unused();
        EXPECT_EQ(tree->open_descriptors(), 0U);
        return read_all(*file);
    };
    std::filesystem::rename(path("a/b"), path("a/c"));
    tree->note_rename("a/b", "a/c", false);
    EXPECT_EQ(*closed(), "abc");
    std::filesystem::rename(path("a"), path("d"));
    tree->note_rename("a", "d", false);
    EXPECT_EQ(*closed(), "abc");
    std::filesystem::rename(path("other"), path("x"));
    std::filesystem::rename(path("d"), path("other"));
    std::filesystem::rename(path("x"), path("d"));
    tree->note_rename("other", "d", true);
    EXPECT_EQ(*closed(), "abc");
    const auto later = *tree->open("other/c/file");  // to which none of this has happened
    tree->release_unused();
    tree->release_unused();
    EXPECT_EQ(*read_all(*later), "abc");
    std::filesystem::rename(path("other"), path("e"));  // by somebody else
    EXPECT_EQ(closed().error().code(), ErrorCode::stale);
}

TEST_F(PinnedFileTest, ALeaseOfAFileIsWaitedFor) {
    directory_.write("file", "abc");
    calls_->open_errno = EAGAIN;
    const auto tree = source();
    calls_->failing_opens = 3;
    const auto file = tree->open("file");
    ASSERT_TRUE(file.ok()) << file.error().message();
    EXPECT_EQ(calls_->pauses, 3U);
    EXPECT_EQ(*read_all(**file), "abc");
}

TEST_F(PinnedFileTest, AFileBehindALinkIsFoundAgain) {
    std::filesystem::create_directory(directory_ / "blobs");
    directory_.write("blobs/1", "abc");
    directory_.write("blobs/2", "def");
    directory_.write("other", "x");
    calls_->descriptor_limit = 2;  // a pool of one
    const auto tree = source();
    for (const bool removed : {false, true}) {
        std::filesystem::remove(directory_ / "link");
        std::filesystem::create_symlink("blobs/1", directory_ / "link");
        const auto file = *tree->open("link");
        ASSERT_TRUE(tree->open("other").ok());
        EXPECT_EQ(*read_all(*file), "abc") << "opened once more";
        std::filesystem::remove(directory_ / "link");
        if (!removed) {
            std::filesystem::create_symlink("blobs/2", directory_ / "link");
        }
        ASSERT_TRUE(tree->open("other").ok());
        EXPECT_EQ(read_all(*file).error().code(), ErrorCode::stale);
    }
}

TEST_F(PinnedFileTest, LinksOnTheWayAreFollowedWithAndWithoutOpenat2) {
    std::filesystem::create_directory(directory_ / "blobs");
    directory_.write("blobs/1", "abc");
    std::filesystem::create_symlink("blobs", directory_ / "directory");
    std::filesystem::create_symlink("directory/1", directory_ / "link");
    class Old final : public SystemCalls {
     protected:
        int openat2(int /*directory*/, const char* /*path*/, int /*flags*/) const override { return -ENOSYS; }
    };
    const SystemCalls current;
    const Old old;
    for (const SystemCalls* calls : {&current, static_cast<const SystemCalls*>(&old)}) {
        const std::string top = directory_.path() + "/";
        EXPECT_EQ(calls->open_real_at(AT_FDCWD, (top + "link").c_str(), O_RDONLY), -ELOOP);
        EXPECT_EQ(calls->open_real_at(AT_FDCWD, (top + "directory").c_str(), O_RDONLY | O_DIRECTORY), -ELOOP);
        EXPECT_EQ(calls->open_real_at(AT_FDCWD, (top + "blobs/1").c_str(), O_RDONLY | O_DIRECTORY), -ENOTDIR);
        EXPECT_EQ(calls->open_real_at(AT_FDCWD, (top + "nothing").c_str(), O_RDONLY), -ENOENT);
        const UniqueFd file(calls->open_real_at(AT_FDCWD, (top + "blobs/1").c_str(), O_RDONLY));
        EXPECT_GT(file.get(), 2);
        EXPECT_NE(::fcntl(file.get(), F_GETFD) & FD_CLOEXEC, 0);
    }
    EXPECT_EQ(current.open_real_at(AT_FDCWD, (directory_ / "directory/1").c_str(), O_RDONLY), -ELOOP);
    for (const auto& calls : {std::make_shared<const SystemCalls>(), std::shared_ptr<const SystemCalls>(new Old)}) {
        const auto tree = *DirectorySource::open_directory(directory_.path(), calls);
        EXPECT_EQ(tree->list("directory")->size(), 1U);
        EXPECT_EQ(*read_all(**tree->open("directory/1")), "abc");
        EXPECT_EQ(*read_all(**tree->open("link")), "abc");
    }
}

TEST_F(PinnedFileTest, AnOrdinaryFileCostsOneLookAndOneOpen) {
    directory_.write("file", "abc");
    class Counting final : public SystemCalls {
     public:
        int open_at(int directory, const char* path, int flags) const override {
            ++calls;
            return SystemCalls::open_at(directory, path, flags);
        }
        int open_real_at(int directory, const char* path, int flags) const override {
            ++calls;
            return SystemCalls::open_real_at(directory, path, flags);
        }
        int stat_at(int directory, const char* path, struct stat& out, int flags) const override {
            ++calls;
            return SystemCalls::stat_at(directory, path, out, flags);
        }
        mutable int calls = 0;
    };
    const auto calls = std::make_shared<Counting>();
    const auto tree = *DirectorySource::open_directory(directory_.path(), calls);
    calls->calls = 0;
    ASSERT_TRUE(tree->stat_target("file").ok());
    EXPECT_EQ(calls->calls, 1);
    ASSERT_TRUE(tree->open("file").ok());
    EXPECT_EQ(calls->calls, 3);
    ASSERT_TRUE(tree->list("").ok());
    EXPECT_EQ(calls->calls, 4);
}

TEST_F(PinnedFileTest, ReadingWaits) {
    directory_.write("file", "abc");
    class Watching final : public SystemCalls {
     public:
        ssize_t read_at(int fd, std::byte* buffer, std::size_t nbytes, std::uint64_t offset) const override {
            flags = ::fcntl(fd, F_GETFL);
            return SystemCalls::read_at(fd, buffer, nbytes, offset);
        }
        mutable int flags = O_NONBLOCK;
    };
    const auto calls = std::make_shared<Watching>();
    const auto tree = *DirectorySource::open_directory(directory_.path(), calls);
    ASSERT_TRUE(read_all(**tree->open("file")).ok());
    EXPECT_EQ(calls->flags & O_NONBLOCK, 0);
}

TEST_F(PinnedFileTest, HolesAreToldWithoutReading) {
    constexpr std::uint64_t hole = std::uint64_t{1} << 20U;
    directory_.write("file", "abc");
    std::filesystem::resize_file(directory_ / "file", 2 * hole);
    directory_.write("dense", std::string(8192, 'x'));
    directory_.write("hole", "");
    std::filesystem::resize_file(directory_ / "hole", hole);
    const auto tree = source();
    const auto file = *tree->open("file");
    const FileRun data = *file->run_at(1);
    EXPECT_FALSE(data.is_hole);
    EXPECT_LT(data.nbytes, hole);
    EXPECT_EQ(*file->run_at(1 + data.nbytes), (FileRun{2 * hole - 1 - data.nbytes, true}));
    EXPECT_EQ(*file->run_at(2 * hole - 1), (FileRun{1, true}));
    EXPECT_FALSE(file->run_at(2 * hole).ok());
    EXPECT_EQ(*(*tree->open("dense"))->run_at(192), (FileRun{8000, false}));
    EXPECT_EQ(*(*tree->open("hole"))->run_at(0), (FileRun{hole, true}));
    EXPECT_EQ(calls_->reads, 0U);

    directory_.write("dense", "another");
    const auto stale = source()->open("dense");
    directory_.write("dense", "a third");
    ASSERT_TRUE(stale.ok());
    EXPECT_EQ((*stale)->run_at(0).error().code(), ErrorCode::stale);
}

TEST_F(PinnedFileTest, WhereHolesAreNotKnownAllIsData) {
    class WithoutHoles final : public SystemCalls {
     public:
        std::int64_t seek(int /*fd*/, std::uint64_t /*offset*/, int /*whence*/) const override { return -EINVAL; }
    };
    directory_.write("file", "");
    std::filesystem::resize_file(directory_ / "file", 100'000);
    const auto tree = *DirectorySource::open_directory(directory_.path(), std::make_shared<WithoutHoles>());
    EXPECT_EQ(*(*tree->open("file"))->run_at(10), (FileRun{99'990, false}));
}

TEST_F(PinnedFileTest, ALimitOfDescriptorsThatIsTooLowIsNamed) {
    calls_->descriptor_limit = least_descriptors - 1;
    const auto refused = DirectorySource::open_directory(directory_.path(), calls_);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::io);
    EXPECT_THAT(refused.error().message(), HasSubstr("may have 63 files open, and needs 64"));
    calls_->descriptor_limit = least_descriptors;
    EXPECT_TRUE(DirectorySource::open_directory(directory_.path(), calls_).ok());
}

}  // namespace
}  // namespace ckptfs::io
