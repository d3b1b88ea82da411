// Files that a command leaves for its user.
#include "io/whole_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "io/unique_fd.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;

std::size_t entries(const std::string& directory) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(WholeFile, IsWrittenInThePlaceOfAnother) {
    const test::TemporaryDirectory directory;
    const std::string bytes(1 << 20, 'x');
    directory.write("page", "older and longer");
    ASSERT_TRUE(write_whole_file(directory / "page", "new").ok());
    EXPECT_EQ(file_bytes(directory / "page"), "new");
    ASSERT_TRUE(write_whole_file(directory / "other", bytes).ok());
    EXPECT_EQ(file_bytes(directory / "other"), bytes);
    EXPECT_EQ(entries(directory.path()), 2U) << "something was left beside them";
}

TEST(WholeFile, FollowsALink) {
    const test::TemporaryDirectory directory;
    fs::create_directory(directory / "there");
    directory.write("there/page", "old");
    fs::create_symlink("there/page", directory / "link");
    ASSERT_TRUE(write_whole_file(directory / "link", "new").ok());
    EXPECT_EQ(file_bytes(directory / "there/page"), "new");
    EXPECT_TRUE(fs::is_symlink(directory / "link"));
}

TEST(WholeFile, WhatIsNoRegularFileIsWrittenTo) {
    const test::TemporaryDirectory directory;
    const std::string pipe = directory / "pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    const UniqueFd reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_TRUE(write_whole_file(pipe, "page").ok());
    char buffer[8] = {};
    EXPECT_EQ(::read(reader.get(), buffer, sizeof(buffer)), 4);
    EXPECT_EQ(std::string(buffer), "page");
    EXPECT_TRUE(fs::is_fifo(pipe));
}

TEST(WholeFile, WhatHasTheNameOfItsBeginningStays) {
    const test::TemporaryDirectory directory;
    directory.write("page.partial", "mine");
    const auto refused = write_whole_file(directory / "page", "new");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().system_errno(), EEXIST);
    EXPECT_NE(refused.error().message().find("page.partial' is there already"), std::string::npos);
    EXPECT_EQ(file_bytes(directory / "page.partial"), "mine");
    EXPECT_EQ(entries(directory.path()), 1U);
}

TEST(WholeFile, SaysWhyItCannotBe) {
    const test::TemporaryDirectory directory;
    const auto absent = write_whole_file(directory / "absent/page", "new");
    ASSERT_FALSE(absent.ok());
    EXPECT_EQ(absent.error().code(), ErrorCode::io);
    EXPECT_EQ(absent.error().system_errno(), ENOENT);
    const auto at_directory = write_whole_file(directory.path(), "new");
    ASSERT_FALSE(at_directory.ok());
    EXPECT_EQ(at_directory.error().system_errno(), EISDIR);
    const auto full = write_whole_file("/dev/full", "new");
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().system_errno(), ENOSPC);
    EXPECT_EQ(entries(directory.path()), 0U);
}

}  // namespace
}  // namespace ckptfs::io
