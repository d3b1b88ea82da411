// A file of SOURCE that is open: reading, writing, and what the system answers in between.
#include "io/source_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/posix_source.h"
#include "support/fake_caller.h"
#include "support/faulty_system_calls.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace source_file {
namespace {

using test::file_bytes;

constexpr std::optional<std::uint64_t> at_end = std::nullopt;

std::span<const std::byte> data_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

class SourceFileTest : public ::testing::Test {
 protected:
    void SetUp() override {
        constexpr std::uint64_t least = 1;
        const auto source = DirectorySource::open_directory(directory_.path(), calls_, least);
        ASSERT_TRUE(source.ok());
        source_ = *source;
    }
    [[nodiscard]] std::shared_ptr<const SourceHandle> open(const std::string& path, int flags) const {
        const auto opened = source_->writer()->open(path, flags, 0600, me_);
        EXPECT_EQ(opened.error, 0) << path;
        return opened.value;
    }
    [[nodiscard]] static std::string read(const SourceHandle& file, std::uint64_t offset, std::size_t nbytes) {
        std::string text(nbytes, '\0');
        const auto count = file.read(offset, std::as_writable_bytes(std::span(text.data(), text.size())));
        EXPECT_EQ(count.error, 0);
        return text.substr(0, count.value);
    }

    test::TemporaryDirectory directory_;
    std::shared_ptr<test::FaultySystemCalls> calls_ = std::make_shared<test::FaultySystemCalls>();
    std::shared_ptr<const DirectorySource> source_;
    test::FakeCaller me_;
};

TEST_F(SourceFileTest, ReadsAndWritesByPosition) {
    const auto file = open("file", O_RDWR | O_CREAT);
    EXPECT_EQ(file->write(0, data_of("0123456789"), me_).value, 10U);
    EXPECT_EQ(file->write(4, data_of("xy"), me_).value, 2U);
    EXPECT_EQ(file->write(12, data_of("z"), me_).value, 1U);
    EXPECT_EQ(file->write(0, {}, me_).value, 0U);
    EXPECT_EQ(read(*file, 0, 100), std::string("0123xy6789\0\0z", 13));
    EXPECT_EQ(read(*file, 11, 2), std::string("\0z", 2));
    EXPECT_EQ(read(*file, 13, 5), "");
    EXPECT_EQ(file->info().value.stamp.size, 13U);
    EXPECT_TRUE(file->sync(true).ok());
    EXPECT_TRUE(file->sync(false).ok());
}

TEST_F(SourceFileTest, ShortAndInterruptedCallsAreMadeAgain) {
    const auto file = open("file", O_RDWR | O_CREAT);
    calls_->longest_write = 3;
    calls_->interrupted_writes = 2;
    EXPECT_EQ(file->write(0, data_of("0123456789"), me_).value, 10U);
    calls_->longest_read = 3;
    calls_->interrupted_reads = 2;
    EXPECT_EQ(read(*file, 0, 100), "0123456789");
    calls_->failing_reads = 1;
    std::array<std::byte, 10> out{};
    EXPECT_EQ(file->read(0, out).error, EIO);
}

TEST_F(SourceFileTest, AWriteThatFailsInItsMidstSaysHowFarItCame) {
    const auto file = open("file", O_RDWR | O_CREAT);
    calls_->longest_write = 4;
    for (const int failure : {ENOSPC, EDQUOT, EIO, EFBIG}) {
        calls_->write_errno = failure;
        calls_->working_writes = 2;
        const auto written = file->write(0, data_of("0123456789"), me_);
        EXPECT_EQ(written.error, 0);
        EXPECT_EQ(written.value, 8U);
        EXPECT_EQ(file->write(8, data_of("89"), me_).error, failure) << "which the next one says";
        calls_->working_writes = 1;
        EXPECT_EQ(file->write(8, data_of("89"), me_).value, 2U);
        EXPECT_EQ(read(*file, 0, 100), "0123456789");
    }
}

TEST_F(SourceFileTest, WhoAppendsOverwritesNobody) {
    const auto first = open("file", O_WRONLY | O_CREAT | O_APPEND);
    const auto second = open("file", O_RDWR | O_APPEND);
    constexpr int rounds = 500;
    const auto append = [&](const SourceHandle& file, std::string_view line) {
        for (int round = 0; round < rounds; ++round) {
            EXPECT_EQ(file.write(at_end, data_of(line), me_).value, line.size());
        }
    };
    std::thread other([&] { append(*first, "first\n"); });
    append(*second, "second\n");
    other.join();
    const std::string all = file_bytes(directory_ / "file");
    EXPECT_EQ(all.size(), rounds * std::string_view("first\nsecond\n").size()) << "nobody wrote over anybody";
    calls_->longest_write = 4;
    EXPECT_EQ(first->write(at_end, data_of("0123456789"), me_).value, 10U);
    EXPECT_EQ(file_bytes(directory_ / "file"), all + "0123456789");
}

TEST_F(SourceFileTest, PagesOfAMappingGoToTheirPlaceThoughTheFileIsOpenForAppending) {
    test::FakeCaller nobody;
    nobody.known = false;
    for (const bool otherwise : {true, false}) {
        calls_->writes_otherwise = otherwise;
        directory_.write("file", "0123456789");
        const auto file = open("file", O_RDWR | O_APPEND);
        EXPECT_EQ(file->write(4, data_of("xy"), nobody).value, 2U);
        EXPECT_EQ(file->write(at_end, data_of("z"), me_).value, 1U) << "who appends still does";
        EXPECT_EQ(file->write(0, data_of("v"), nobody).value, 1U);
        EXPECT_EQ(file_bytes(directory_ / "file"), "v123xy6789z");
    }
}

TEST_F(SourceFileTest, EachWriteSaysWhetherItAppendsHoweverTheFileWasOpened) {
    for (const int flags : {O_RDWR, O_RDWR | O_APPEND}) {
        for (const bool otherwise : {true, false}) {
            calls_->writes_otherwise = otherwise;
            directory_.write("file", "0123456789");
            const auto file = open("file", flags);
            const auto another = open("file", O_WRONLY | O_APPEND);
            EXPECT_EQ(file->write(4, data_of("xy"), me_).value, 2U);
            EXPECT_EQ(file->write(at_end, data_of("a"), me_).value, 1U);
            EXPECT_EQ(another->write(at_end, data_of("b"), me_).value, 1U);
            EXPECT_EQ(file->write(at_end, data_of("cd"), me_).value, 2U);
            EXPECT_EQ(file->write(0, data_of("z"), me_).value, 1U);
            EXPECT_EQ(file_bytes(directory_ / "file"), "z123xy6789abcd");
        }
    }
}

TEST_F(SourceFileTest, PagesGoToTheirPlaceWhileOthersAppend) {
    calls_->writes_otherwise = false;
    test::FakeCaller nobody;
    nobody.known = false;
    directory_.write("file", "0");
    const auto file = open("file", O_RDWR | O_APPEND);
    constexpr std::size_t rounds = 2000;
    std::thread other([&] {
        for (std::size_t round = 0; round < rounds; ++round) {
            EXPECT_EQ(file->write(at_end, data_of("a"), me_).value, 1U);
        }
    });
    for (std::size_t round = 0; round < rounds; ++round) {
        EXPECT_EQ(file->write(0, data_of("p"), nobody).value, 1U);
    }
    other.join();
    EXPECT_EQ(file_bytes(directory_ / "file"), "p" + std::string(rounds, 'a'));
}

TEST_F(SourceFileTest, ChangesItself) {
    directory_.write("file", "0123456789");
    const auto file = open("file", O_RDWR);
    std::filesystem::remove(directory_ / "file");
    AttributeChange change{.mode = 0604, .size = 12};
    change.atime = {.is_now = false, .ns = 3};
    change.mtime = {.is_now = false, .ns = 4};
    EXPECT_TRUE(file->change(change, me_).ok()) << "though it has no name any more";
    const FileInfo info = file->info().value;
    EXPECT_EQ(info.mode, 0604U);
    EXPECT_EQ(info.stamp.size, 12U);
    EXPECT_EQ(info.atime_ns, 3);
    EXPECT_EQ(info.stamp.mtime_ns, 4);
    EXPECT_EQ(info.nlink, 0U);
    directory_.write("other", "");
    EXPECT_EQ(open("other", O_RDONLY)->change({.size = 4}, me_).error, EINVAL);
}

TEST_F(SourceFileTest, AllocatesAndFindsHoles) {
    constexpr std::uint64_t mib = 1 << 20;
    const auto file = open("file", O_RDWR | O_CREAT);
    EXPECT_EQ(file->write(mib, data_of("x"), me_).value, 1U);
    EXPECT_EQ(file->seek(0, SEEK_DATA).value, mib);
    EXPECT_EQ(file->seek(0, SEEK_HOLE).value, 0U);
    EXPECT_EQ(file->seek(mib + 1, SEEK_DATA).error, ENXIO);
    EXPECT_EQ(file->seek(0, SEEK_SET).error, EINVAL);
    const auto allocated = file->allocate(0, 0, 2 * mib, me_);
    if (allocated.error == EOPNOTSUPP) {
        GTEST_SKIP() << "this file system allocates nothing";
    }
    EXPECT_EQ(allocated.error, 0);
    EXPECT_EQ(file->info().value.stamp.size, 2 * mib);
    EXPECT_GE(file->info().value.blocks * 512, 2 * mib);
    EXPECT_TRUE(file->allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, mib, mib, me_).ok());
    EXPECT_EQ(read(*file, mib, 1), std::string(1, '\0'));
    EXPECT_EQ(file->allocate(0, 0, 0, me_).error, EINVAL);
    EXPECT_EQ(open("file", O_RDONLY)->allocate(0, 0, mib, me_).error, EBADF);
}

TEST_F(SourceFileTest, CopiesToAnother) {
    directory_.write("from", "0123456789");
    const auto from = open("from", O_RDONLY);
    const auto to = open("to", O_RDWR | O_CREAT);
    const auto copied = from->copy_to(2, *to, 1, 5, me_);
    ASSERT_EQ(copied.error, 0);
    EXPECT_EQ(copied.value, 5U);
    EXPECT_EQ(read(*to, 0, 100), std::string("\00023456", 6));
    EXPECT_EQ(from->copy_to(10, *to, 0, 5, me_).value, 0U) << "at the end";
    EXPECT_EQ(to->copy_to(0, *from, 0, 1, me_).error, EBADF);
    const SourceFile none(UniqueFd(), false, calls_, std::make_shared<DescriptorPool>(1),
                          std::make_shared<test::FakeCaller>());
    EXPECT_EQ(from->copy_to(0, none, 0, 1, me_).error, EXDEV);
}

TEST_F(SourceFileTest, FlushesAsClosingWould) {
    const auto file = open("file", O_RDWR | O_CREAT);
    EXPECT_TRUE(file->flush().ok());
    EXPECT_EQ(file->write(0, data_of("x"), me_).value, 1U) << "it is open all the same";
    directory_.write("read", "0123");
    const auto read = *source_->open("read");
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int lowest_free = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    ::close(lowest_free);
    const rlimit full{static_cast<rlim_t>(lowest_free), limit.rlim_max};
    EXPECT_EQ(source_->open_descriptors(), 1U);
    // Nothing else is called meanwhile: sanitizers take descriptors for themselves to look at objects.
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &full), 0);
    const auto with_the_pools = file->flush();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_EQ(source_->open_descriptors(), 0U);
    EXPECT_EQ(with_the_pools.error, 0);
}

TEST_F(SourceFileTest, OutlivesWhatItCameFrom) {
    auto writer = source_->writer();
    source_.reset();
    const auto file = writer->open("file", O_RDWR | O_CREAT, 0600, me_);
    writer.reset();
    EXPECT_EQ(file.value->write(0, data_of("x"), me_).value, 1U);
}

}  // namespace
}  // namespace source_file
}  // namespace ckptfs::io
