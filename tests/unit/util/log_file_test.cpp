// A log file is opened where its directory is, and nowhere else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "support/temporary_directory.h"
#include "util/log.h"

namespace ckptfs {
namespace {

TEST(LogFile, AMissingDirectoryIsAnErrorAndStaysMissing) {
    const test::TemporaryDirectory directory;
    const auto opened = log::to_file(directory / "missing/log");
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(opened.error().message(), testing::HasSubstr("is not a directory"));
    EXPECT_FALSE(std::filesystem::exists(directory / "missing"));
}

TEST(LogFile, ALineArrives) {
    const test::TemporaryDirectory directory;
    ASSERT_TRUE(log::to_file(directory / "log").ok());
    log::warn("a line");
    log::to_stderr();
    EXPECT_THAT(test::file_bytes(directory / "log"), testing::HasSubstr("a line"));
}

}  // namespace
}  // namespace ckptfs
