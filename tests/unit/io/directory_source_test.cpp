// DirectorySource: generations, the descriptor pool, faults of the system and recovery from them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>

#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/fake_files.h"
#include "support/faulty_system_calls.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace {

using test::FaultySystemCalls;
using test::read_all;
using test::read_range;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DirectorySourceTest : public testing::Test {
 protected:
    std::shared_ptr<const DirectorySource> source(const std::shared_ptr<FaultySystemCalls>& calls) {
        constexpr std::uint64_t least = 1;  // so that a test can have the smallest pool
        auto opened = DirectorySource::open_directory(directory_.path(), calls, least);
        EXPECT_TRUE(opened.ok()) << opened.error().message();
        return *opened;
    }
    std::shared_ptr<const DirectorySource> source() { return source(calls_); }

    test::TemporaryDirectory directory_;
    std::shared_ptr<FaultySystemCalls> calls_ = std::make_shared<FaultySystemCalls>();
};

TEST_F(DirectorySourceTest, ReadsFilesByPosition) {
    directory_.write("a", "0123456789");
    const auto file = *source()->open("a");
    EXPECT_EQ(file->size(), 10U);
    EXPECT_EQ(*read_all(*file), "0123456789");
    EXPECT_EQ(*read_range(*file, 3, 4), "3456");
    EXPECT_EQ(*read_range(*file, 10, 0), "");
    EXPECT_EQ(read_range(*file, 9, 2).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(read_range(*file, 11, 0).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(file->name(), directory_ / "a");
}

TEST_F(DirectorySourceTest, ListsSortedByNameWithTypes) {
    directory_.write("b", "");
    directory_.write("B", "");
    std::filesystem::create_directory(directory_ / "a");
    std::filesystem::create_symlink("b", directory_ / "link");
    ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
    for (const bool without_types : {false, true}) {
        calls_->without_types = without_types;
        const auto listing = source()->list("");
        ASSERT_TRUE(listing.ok());
        std::vector<std::pair<std::string, FileType>> entries;
        for (const DirectoryEntry& entry : *listing) {
            entries.emplace_back(entry.name, entry.type);
        }
        EXPECT_THAT(entries, ElementsAre(std::pair("B", FileType::regular), std::pair("a", FileType::directory),
                                         std::pair("b", FileType::regular), std::pair("link", FileType::symlink),
                                         std::pair("pipe", FileType::fifo)));
    }
    EXPECT_THAT(*source()->list("a"), IsEmpty());
}

TEST_F(DirectorySourceTest, StatsEntriesAndTheirTargets) {
    directory_.write("file", "abc");
    std::filesystem::create_symlink("file", directory_ / "link");
    std::filesystem::create_symlink("nowhere", directory_ / "broken");
    ASSERT_EQ(::chmod((directory_ / "file").c_str(), 0640), 0);
    const auto tree = source();
    const auto file = tree->stat("file");
    EXPECT_EQ(file->type, FileType::regular);
    EXPECT_EQ(file->mode, 0640U);
    EXPECT_EQ(file->stamp.size, 3U);
    EXPECT_EQ(file->uid, ::getuid());
    EXPECT_GT(file->stamp.mtime_ns, 1'500'000'000LL * 1'000'000'000LL);
    EXPECT_EQ(tree->stat("link")->type, FileType::symlink);
    EXPECT_EQ(tree->stat_target("link")->stamp, file->stamp);
    EXPECT_EQ(*tree->read_link("link"), "file");
    EXPECT_EQ(tree->stat("broken")->type, FileType::symlink);
    EXPECT_EQ(tree->stat_target("broken").error().code(), ErrorCode::not_found);
    EXPECT_EQ(tree->stat("")->type, FileType::directory);
    EXPECT_EQ(tree->display("x/y"), directory_.path() + "/x/y");
    EXPECT_EQ(tree->display(""), directory_.path());
}

TEST_F(DirectorySourceTest, StatisticsAreThoseOfItsFileSystem) {
    const auto found = source()->statistics();
    ASSERT_TRUE(found.ok());
    struct statvfs expected {};
    ASSERT_EQ(::statvfs(directory_.path().c_str(), &expected), 0);
    EXPECT_EQ(found->blocks, expected.f_blocks);
    EXPECT_EQ(found->block_nbytes, expected.f_frsize);
    EXPECT_EQ(found->max_name_nbytes, expected.f_namemax);
}

TEST_F(DirectorySourceTest, WhatIsNotThereIsNotFound) {
    directory_.write("file", "abc");
    const auto tree = source();
    EXPECT_EQ(tree->open("nothing").error().code(), ErrorCode::not_found);
    EXPECT_EQ(tree->open("file/below").error().code(), ErrorCode::not_found);
    EXPECT_EQ(tree->list("nothing").error().code(), ErrorCode::not_found);
    EXPECT_EQ(tree->stat("nothing").error().code(), ErrorCode::not_found);
    EXPECT_EQ(tree->read_link("nothing").error().code(), ErrorCode::not_found);
    EXPECT_THAT(tree->open("nothing").error().message(), HasSubstr(directory_ / "nothing"));
    EXPECT_EQ(DirectorySource::open_directory(directory_ / "nothing").error().code(), ErrorCode::not_found);
    EXPECT_EQ(DirectorySource::open_directory(directory_ / "file").error().code(), ErrorCode::not_found);
}

TEST_F(DirectorySourceTest, PathsThatLeaveTheTreeAreRefused) {
    const auto tree = source();
    for (const std::string path : {"..", "../x", "a/../b", "a/..", "/..", "/etc/../x"}) {
        EXPECT_EQ(tree->open(path).error().code(), ErrorCode::invalid_argument) << path;
        EXPECT_EQ(tree->stat(path).error().code(), ErrorCode::invalid_argument) << path;
        EXPECT_EQ(tree->list(path).error().code(), ErrorCode::invalid_argument) << path;
    }
    directory_.write("..a", "x");
    EXPECT_TRUE(tree->open("..a").ok());
}

TEST_F(DirectorySourceTest, SpecialFilesNeitherBlockNorOpen) {
    ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
    std::filesystem::create_directory(directory_ / "directory");
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string socket_path = directory_ / "socket";
    ASSERT_LT(socket_path.size(), sizeof(address.sun_path));
    socket_path.copy(address.sun_path, socket_path.size());
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const auto tree = source();
    const std::uint64_t opens = calls_->opens;
    for (const std::string name : {"pipe", "directory", "socket"}) {
        EXPECT_EQ(tree->open(name).error().code(), ErrorCode::unsupported) << name;
    }
    EXPECT_EQ(calls_->opens, opens) << "a special file was opened";
    ::close(socket);
}

TEST_F(DirectorySourceTest, AFileThatChangesIsStale) {
    using Change = std::function<void(const std::string&)>;
    const std::vector<std::pair<std::string, Change>> changes = {
        {"written in place", [&](const std::string&) { directory_.write("file", "abX"); }},
        {"grown", [&](const std::string&) { directory_.write("file", "abcd"); }},
        {"truncated", [&](const std::string&) { directory_.write("file", "a"); }},
        {"removed", [](const std::string& path) { std::filesystem::remove(path); }},
        {"replaced",
         [&](const std::string& path) {
             directory_.write("new", "abc");
             std::filesystem::rename(directory_ / "new", path);
         }},
        {"touched", [](const std::string& path) { ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0); }},
    };
    for (const auto& [name, change] : changes) {
        for (const bool pooled : {true, false}) {
            directory_.write("file", "abc");
            directory_.write("other", "x");
            calls_->descriptor_limit = 2;  // a pool of one
            const auto tree = source();
            const auto file = *tree->open("file");
            ASSERT_TRUE(read_all(*file).ok());
            if (!pooled) {
                ASSERT_TRUE(tree->open("other").ok());
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the file system's clock ticks that slowly
            change(directory_ / "file");
            const auto again = read_range(*file, 0, 1);
            ASSERT_FALSE(again.ok()) << name;
            EXPECT_EQ(again.error().code(), ErrorCode::stale) << name;
            EXPECT_THAT(again.error().message(), HasSubstr(directory_ / "file"));
            if (name != "removed") {
                EXPECT_TRUE(read_all(**tree->open("file")).ok()) << "a new generation reads, " << name;
            }
        }
    }
}

TEST_F(DirectorySourceTest, AMountOverItsPathDoesNotMatter) {
    std::filesystem::create_directory(directory_ / "tree");
    directory_.write("tree/file", "abc");
    const auto tree = *DirectorySource::open_directory(directory_ / "tree");
    std::filesystem::rename(directory_ / "tree", directory_ / "elsewhere");
    std::filesystem::create_directory(directory_ / "tree");
    EXPECT_EQ(*read_all(**tree->open("file")), "abc");
    EXPECT_EQ(tree->list("")->size(), 1U);
}

TEST_F(DirectorySourceTest, InterruptedAndShortReadsEndHere) {
    const std::string bytes = test::random_bytes(10'000, 7);
    directory_.write("file", bytes);
    calls_->longest_read = 7;
    const auto file = *source()->open("file");
    calls_->interrupted_reads = 50;
    EXPECT_EQ(*read_all(*file), bytes);
    EXPECT_EQ(calls_->interrupted_reads, 0);
}

TEST_F(DirectorySourceTest, SystemErrorsKeepTheirErrnoAndPassOff) {
    directory_.write("file", "abc");
    const auto tree = source();
    const auto file = *tree->open("file");
    calls_->failing_reads = 1;
    const auto failed = read_all(*file);
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code(), ErrorCode::io);
    EXPECT_EQ(failed.error().system_errno(), EIO);
    EXPECT_THAT(failed.error().message(), HasSubstr(directory_ / "file"));
    EXPECT_EQ(*read_all(*file), "abc") << "the fault has passed";

    calls_->failing_stats = 1;
    EXPECT_EQ(read_all(*file).error().code(), ErrorCode::io) << "bytes whose stamp cannot be checked are not served";
    EXPECT_EQ(*read_all(*file), "abc");

    calls_->failing_lists = 1;
    EXPECT_EQ(tree->list("").error().system_errno(), EIO);
    EXPECT_EQ(tree->list("")->size(), 1U);

    calls_->open_errno = EACCES;
    calls_->failing_opens = 1;
    EXPECT_EQ(tree->open("file").error().system_errno(), EACCES);
    EXPECT_TRUE(tree->open("file").ok());
}

TEST_F(DirectorySourceTest, APrematureEndIsDamageNotZeros) {
    directory_.write("file", "abc");
    const auto file = *source()->open("file");
    calls_->empty_reads = 1;
    const auto failed = read_all(*file);
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code(), ErrorCode::damaged);
    EXPECT_EQ(*read_all(*file), "abc");
}

TEST_F(DirectorySourceTest, ThePoolIsBoundedAndReopens) {
    calls_->descriptor_limit = 8;
    constexpr int count = 20;
    for (int i = 0; i < count; ++i) {
        directory_.write(std::to_string(i), std::to_string(i));
    }
    const auto tree = source();
    EXPECT_EQ(tree->descriptor_capacity(), 4U);
    std::vector<std::shared_ptr<const File>> files;
    for (int i = 0; i < count; ++i) {
        files.push_back(*tree->open(std::to_string(i)));
        EXPECT_LE(tree->open_descriptors(), 4U);
    }
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < count; ++i) {
            EXPECT_EQ(*read_all(*files[static_cast<std::size_t>(i)]), std::to_string(i));
            EXPECT_LE(tree->open_descriptors(), 4U);
        }
    }
    const std::uint64_t opens = calls_->opens;
    for (int i = 0; i < 10; ++i) {
        EXPECT_TRUE(read_all(*files.back()).ok());
    }
    EXPECT_EQ(calls_->opens, opens) << "the last used file is still open";
    files.clear();
    EXPECT_EQ(tree->open_descriptors(), 0U);
}

TEST_F(DirectorySourceTest, WithoutADescriptorLeftThePoolGivesItsOwnBack) {
    directory_.write("a", "a");
    directory_.write("b", "b");
    const auto tree = source();
    const auto a = *tree->open("a");
    ASSERT_EQ(tree->open_descriptors(), 1U);
    calls_->failing_opens = 1;
    const auto b = tree->open("b");
    ASSERT_TRUE(b.ok());
    EXPECT_EQ(tree->open_descriptors(), 1U);
    EXPECT_EQ(*read_all(*a), "a");
    calls_->failing_opens = 2;
    EXPECT_EQ(tree->open("b").error().system_errno(), EMFILE);
}

TEST_F(DirectorySourceTest, ThreadsShareTheSmallestPool) {
    calls_->descriptor_limit = 4;
    constexpr std::size_t count = 8;
    std::vector<std::string> contents;
    for (std::size_t i = 0; i < count; ++i) {
        contents.push_back(test::random_bytes(5000, i));
        directory_.write(std::to_string(i), contents.back());
    }
    const auto tree = source();
    std::vector<std::shared_ptr<const File>> files;
    for (std::size_t i = 0; i < count; ++i) {
        files.push_back(*tree->open(std::to_string(i)));
    }
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937_64 random(t);
            for (int i = 0; i < 300; ++i) {
                const std::size_t which = random() % count;
                const std::uint64_t offset = random() % 5000;
                const std::uint64_t nbytes = random() % (5000 - offset);
                const auto got = read_range(*files[which], offset, nbytes);
                wrong += got.ok() && *got == contents[which].substr(offset, nbytes) ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_LE(tree->open_descriptors(), 2U);
}

TEST_F(DirectorySourceTest, FilesOutliveTheirSource) {
    directory_.write("file", "abc");
    auto tree = source();
    const auto file = *tree->open("file");
    tree.reset();
    EXPECT_EQ(*read_all(*file), "abc");
}

TEST_F(DirectorySourceTest, TheRealCallsCloseOnExecAndRaiseTheLimit) {
    directory_.write("file", "abc");
    const SystemCalls real;
    const int fd = real.open_at(AT_FDCWD, (directory_ / "file").c_str(), O_RDONLY);
    ASSERT_GT(fd, 2);
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ::close(fd);
    EXPECT_GE(real.raise_descriptor_limit(), 256U);
    EXPECT_EQ(real.open_at(AT_FDCWD, (directory_ / "nothing").c_str(), O_RDONLY), -ENOENT);
}

TEST_F(DirectorySourceTest, StandardDescriptorsAreNeverUsed) {
    directory_.write("file", "abc");
    const int saved = ::dup(0);
    ::close(0);
    const int fd = SystemCalls().open_at(AT_FDCWD, (directory_ / "file").c_str(), O_RDONLY);
    EXPECT_GT(fd, 2);
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "descriptor 0 was left open";
    ::close(fd);
    if (saved >= 0) {
        ::dup2(saved, 0);
        ::close(saved);
    }
}

TEST_F(DirectorySourceTest, CountersCountWhatIsAsked) {
    directory_.write("file", "0123456789");
    const CountingSource counting(source());
    const auto file = *counting.open("file");
    EXPECT_FALSE(counting.open("nothing").ok());
    ASSERT_TRUE(read_range(*file, 0, 4).ok());
    ASSERT_TRUE(read_range(*file, 2, 5).ok());
    EXPECT_EQ(counting.counters().opens, 2U);
    EXPECT_EQ(counting.counters().reads, 2U);
    EXPECT_EQ(counting.counters().nbytes, 9U);
    EXPECT_EQ(counting.counters().stats, 0U);
    EXPECT_EQ(counting.counters().lists, 0U);
    EXPECT_EQ(counting.list("")->size(), 1U);
    EXPECT_FALSE(counting.list("nothing").ok());
    EXPECT_TRUE(counting.stat("file").ok());
    EXPECT_TRUE(counting.stat_target("file").ok());
    EXPECT_FALSE(counting.stat("nothing").ok());
    EXPECT_FALSE(counting.read_link("file").ok());
    EXPECT_EQ(counting.counters().lists, 2U);
    EXPECT_EQ(counting.counters().stats, 3U);
    EXPECT_EQ(counting.counters().links_read, 1U);
    EXPECT_EQ(counting.counters().opens, 2U);
    EXPECT_EQ(counting.display("x"), directory_ / "x");
}

}  // namespace
}  // namespace ckptfs::io
