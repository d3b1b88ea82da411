// What was said is remembered where temporary files lie, for each user.
#include "share/said_once.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temporary_directory.h"

namespace ckptfs::share {
namespace {

TEST(SaidOnce, TheSecondTimeIsNotTheFirst) {
    const test::TemporaryDirectory directory;
    const Variables variables = [&](const std::string& name) {
        return name == "TMPDIR" ? std::optional(directory.path()) : std::nullopt;
    };
    EXPECT_TRUE(is_first_time("one-thing", variables));
    EXPECT_FALSE(is_first_time("one-thing", variables));
    EXPECT_TRUE(is_first_time("another", variables));
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
        std::filesystem::remove(entry);
    }
    EXPECT_TRUE(is_first_time("one-thing", variables));
}

TEST(SaidOnce, ALinkInItsPlaceIsNotFollowed) {
    const test::TemporaryDirectory directory;
    const Variables variables = [&](const std::string& name) {
        return name == "TMPDIR" ? std::optional(directory.path()) : std::nullopt;
    };
    EXPECT_TRUE(is_first_time("one-thing", variables));
    const auto marker = std::filesystem::directory_iterator(directory.path())->path();
    std::filesystem::remove(marker);
    std::filesystem::create_symlink("elsewhere", marker);
    EXPECT_FALSE(is_first_time("one-thing", variables));
    EXPECT_FALSE(std::filesystem::exists(directory / "elsewhere"));
}

}  // namespace
}  // namespace ckptfs::share
