// Directories in the place of others, for one process alone. In namespaces of their own, as any user.
#include "share/private_mount.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "host/mount_point.h"
#include "share/program.h"
#include "support/temporary_directory.h"

namespace ckptfs::share {
namespace private_mount {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(MakeCoverable, MakesTheDirectoryAndFollowsLinks) {
    const ckptfs::test::TemporaryDirectory directory;
    const std::string real = fs::canonical(directory.path()).string();
    const auto made = make_coverable(directory / "a/b");
    EXPECT_EQ(made->path, real + "/a/b");
    EXPECT_TRUE(made->is_new);
    EXPECT_FALSE(make_coverable(directory / "a/b")->is_new);
    EXPECT_TRUE(fs::is_directory(directory / "a/b"));
    fs::create_directory_symlink("a", directory / "link");
    EXPECT_EQ(make_coverable(directory / "link/b")->path, real + "/a/b");
    EXPECT_EQ(make_coverable(directory / "link/../a")->path, real + "/a");
    fs::create_directory_symlink("nowhere", directory / "dangling");
    EXPECT_EQ(make_coverable(directory / "dangling").error().code(), ErrorCode::io);
}

TEST(MakeCoverable, WhatEveryProgramNeedsIsRefused) {
    for (const char* path : {"/", "//", "/proc", "/proc/self", "/usr/.."}) {
        const auto refused = make_coverable(path);
        ASSERT_FALSE(refused.ok()) << path;
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("every program needs"));
    }
}

TEST(ExpectOutside, ThePlaceOfSharedMountsIsNotCovered) {
    EXPECT_TRUE(expect_outside("/run/user/1/ckptfs-1/x", "/run/user/1/ckptfs").ok());
    EXPECT_TRUE(expect_outside("/tmp/ckptfs-1/x", "/tmp/run").ok());
    for (const char* directory : {"/tmp", "/tmp/ckptfs-1", "/tmp/ckptfs-1/x"}) {
        const auto refused = expect_outside("/tmp/ckptfs-1/x", directory);
        ASSERT_FALSE(refused.ok()) << directory;
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("TMPDIR"));
    }
}

class CoverForThisProcess : public testing::Test {
 protected:
    CoverForThisProcess() {
        fs::create_directories(directory_ / "covered/below");
        fs::create_directories(directory_ / "view/below");
        directory_.write("view/below/seen", "");
        real_ = fs::canonical(directory_.path()).string();
    }

    Result<ProgramEnd> run(const std::string& script) {
        return run_program({.arguments = {"sh", "-c", script},
                            .environment = {{"D", real_}},
                            .inherited = -1,
                            .prepare = [this] { return cover_for_this_process(view(), covered(), ""); }},
                           SignalMask());
    }
    int exit_code_of(const std::string& script) {
        const auto ended = run(script);
        EXPECT_TRUE(ended.ok()) << ended.error().message();
        return ended.ok() ? ended->exit_code : -1;
    }
    [[nodiscard]] std::string view() const { return real_ + "/view"; }
    [[nodiscard]] std::string covered() const { return real_ + "/covered"; }

    ckptfs::test::TemporaryDirectory directory_;
    std::string real_;
};

TEST_F(CoverForThisProcess, NobodyElseSeesIt) {
    EXPECT_EQ(exit_code_of("test -e $D/covered/below/seen"), 0);
    EXPECT_FALSE(fs::exists(covered() + "/below/seen"));
    EXPECT_FALSE(mounted_on(covered()));
}

TEST_F(CoverForThisProcess, IdsStay) {
    EXPECT_EQ(exit_code_of("test $(id -u) = " + std::to_string(::geteuid()) +
                           " && test $(id -g) = " + std::to_string(::getegid())),
              0);
}

TEST_F(CoverForThisProcess, TheWorkingDirectoryIsEnteredAgain) {
    const fs::path before = fs::current_path();
    fs::current_path(covered() + "/below");
    EXPECT_EQ(exit_code_of("test -e seen && test \"$(pwd -P)\" = $D/covered/below"), 0);
    fs::remove(directory_ / "view/below/seen");
    fs::remove(directory_ / "view/below");
    const auto refused = run("true");
    fs::current_path(directory_.path());
    EXPECT_EQ(exit_code_of("test -d view"), 0);
    fs::current_path(before);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::mount);
    EXPECT_THAT(refused.error().message(), HasSubstr("the working directory '" + covered() + "/below'"));
}

TEST_F(CoverForThisProcess, AWorkingDirectoryThatIsGoneIsLeft) {
    const fs::path before = fs::current_path();
    fs::create_directory(directory_ / "gone");
    fs::current_path(directory_ / "gone");
    fs::remove(directory_ / "gone");
    EXPECT_EQ(exit_code_of("test -e $D/covered/below/seen"), 0);
    fs::current_path(before);
}

TEST_F(CoverForThisProcess, AViewThatIsNotThereIsNamedWithTheReason) {
    fs::remove_all(directory_ / "view");
    const auto refused = run("true");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::mount);
    EXPECT_THAT(refused.error().message(), HasSubstr("cannot be mounted over: No such file or directory"));
}

TEST_F(CoverForThisProcess, AnEmptyDirectoryIsNotTakenForTheView) {
    const auto refused = run_program({.arguments = {"true"},
                                      .environment = {},
                                      .inherited = -1,
                                      .prepare = [this]() -> Result<void> {
                                          CKPTFS_TRY(cover_for_this_process(view(), covered(), ""));
                                          return expect_view_at(covered());
                                      }},
                                     SignalMask());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::mount);
    EXPECT_THAT(refused.error().message(), HasSubstr("its daemon has just ended"));
}

TEST_F(CoverForThisProcess, PathsMayHoldAnything) {
    fs::rename(covered(), real_ + "/co,ver\\ed \n");
    const auto ended =
        run_program({.arguments = {"sh", "-c", "test -e \"$D\"/below/seen"},
                     .environment = {{"D", real_ + "/co,ver\\ed \n"}},
                     .inherited = -1,
                     .prepare = [this] { return cover_for_this_process(view(), real_ + "/co,ver\\ed \n", ""); }},
                    SignalMask());
    ASSERT_TRUE(ended.ok()) << ended.error().message();
    EXPECT_EQ(ended->exit_code, 0);
}

}  // namespace
}  // namespace private_mount
}  // namespace ckptfs::share
