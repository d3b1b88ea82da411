// A program in this one's place: looked up, started and ended as a shell would, and what keeps it from starting.
#include "share/program.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "io/unique_fd.h"
#include "support/temporary_directory.h"

namespace ckptfs::share {
namespace {

using testing::HasSubstr;

class RunProgram : public testing::Test {
 protected:
    ~RunProgram() override { ::pthread_sigmask(SIG_SETMASK, &mask_.get(), nullptr); }

    Result<ProgramEnd> run(std::vector<std::string> arguments, std::function<Result<void>()> prepare = {}) {
        return run_program({.arguments = std::move(arguments),
                            .environment = {{"CKPTFS_TEST_VARIABLE", "given"}},
                            .inherited = -1,
                            .prepare = std::move(prepare)},
                           mask_);
    }
    int exit_code_of(std::vector<std::string> arguments) {
        const auto ended = run(std::move(arguments));
        EXPECT_TRUE(ended.ok()) << ended.error().message();
        return ended.ok() ? ended->exit_code : -1;
    }
    std::string executable(const std::string& name, const std::string& text, std::filesystem::perms mode) const {
        directory_.write(name, text);
        std::filesystem::permissions(directory_ / name, mode);
        return directory_ / name;
    }

    /// Other tests of this program have left signals blocked.
    static SignalMask with_nothing_blocked() {
        sigset_t none{};
        sigemptyset(&none);
        ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
        return {};
    }

    const SignalMask mask_ = with_nothing_blocked();
    ckptfs::test::TemporaryDirectory directory_;
};

TEST_F(RunProgram, EndsAsItDoes) {
    EXPECT_EQ(exit_code_of({"true"}), 0);
    EXPECT_EQ(exit_code_of({"sh", "-c", "exit 77"}), 77);
    EXPECT_EQ(exit_code_of({"sh", "-c", "kill -KILL $$"}), program_signalled + SIGKILL);
    EXPECT_EQ(exit_code_of({"sh", "-c", "test \"$CKPTFS_TEST_VARIABLE\" = given"}), 0);
}

TEST_F(RunProgram, IsLookedUpAsExecvpDoes) {
    const std::string path = std::getenv("PATH");
    executable("own", "#!/bin/sh\nexit 5\n", std::filesystem::perms::owner_all);
    executable("closed", "#!/bin/sh\n", std::filesystem::perms::owner_read);
    const std::string directory = directory_.path();
    ::setenv("PATH", ("/nowhere:/dev/null:" + directory + ":" + path).c_str(), 1);
    EXPECT_EQ(exit_code_of({"own"}), 5);
    EXPECT_EQ(exit_code_of({"true"}), 0);
    EXPECT_EQ(exit_code_of({"closed"}), program_refused);
    const auto absent = run({"no-such-program"});
    EXPECT_EQ(absent->exit_code, program_not_found);
    EXPECT_EQ(absent->message, "'no-such-program' cannot be run: No such file or directory");
    ::unsetenv("PATH");
    EXPECT_EQ(exit_code_of({"true"}), 0);
    EXPECT_EQ(exit_code_of({"own"}), program_not_found);
    ::setenv("PATH", path.c_str(), 1);
    EXPECT_EQ(exit_code_of({directory + "/own"}), 5);
    EXPECT_EQ(exit_code_of({directory}), program_refused);
    const std::string without_interpreter = executable("script", "exit 0\n", std::filesystem::perms::owner_all);
    EXPECT_THAT(run({without_interpreter})->message, HasSubstr("Exec format error"));
}

TEST_F(RunProgram, HasTheSignalsThatThisProcessHad) {
    EXPECT_EQ(exit_code_of({"sh", "-c", "grep -q '^SigBlk:\t0*$' /proc/self/status"}), 0);
}

// One that comes before the program is there would otherwise be lost in a handler of this process.
TEST_F(RunProgram, IsEndedByASignalThatComesBeforeItIsThere) {
    struct sigaction before {};
    struct sigaction handled {};
    handled.sa_handler = [](int) {};
    ::sigaction(SIGTERM, &handled, &before);
    const auto ended = run({"true"}, []() -> Result<void> {
        ::kill(::getpid(), SIGTERM);
        return {};
    });
    ::sigaction(SIGTERM, &before, nullptr);
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->exit_code, program_signalled + SIGTERM);
}

TEST_F(RunProgram, IsNotWaitedForByWayOfItsChildren) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(exit_code_of({"sh", "-c", "sleep 30 > /dev/null 2>&1 & echo $! > " + directory_.path() + "/child"}), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    ::kill(std::stoi(ckptfs::test::file_bytes(directory_ / "child")), SIGKILL);
}

TEST_F(RunProgram, KeepsOneDescriptorFarUp) {
    directory_.write("file", "content");
    const io::UniqueFd file(::open((directory_ / "file").c_str(), O_RDONLY | O_CLOEXEC));
    const auto ended = run_program({.arguments = {"sh", "-c", "test \"$(cat /proc/self/fd/100)\" = content"},
                                    .environment = {},
                                    .inherited = file.get(),
                                    .prepare = {}},
                                   mask_);
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->exit_code, 0);
    EXPECT_LT(::fcntl(100, F_GETFD), 0);
}

TEST_F(RunProgram, IsPreparedInItsOwnProcess) {
    const auto before = std::filesystem::current_path();
    const auto ended = run({"sh", "-c", "test \"$(pwd -P)\" = /"}, []() -> Result<void> {
        return ::chdir("/") == 0 ? Result<void>() : Error(ErrorCode::io, "chdir", errno);
    });
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->exit_code, 0);
    EXPECT_EQ(std::filesystem::current_path(), before);
}

TEST_F(RunProgram, WhatKeepsItFromStartingIsAnErrorOfItsOwn) {
    const auto refused =
        run({"sh", "-c", "exit 0"}, []() -> Result<void> { return Error(ErrorCode::mount, "no namespace", EPERM); });
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::mount);
    EXPECT_EQ(refused.error().message(), "no namespace");
    EXPECT_EQ(refused.error().system_errno(), EPERM);
    const auto endless =
        run({"true"}, []() -> Result<void> { return Error(ErrorCode::mount, std::string(100'000, 'x')); });
    ASSERT_FALSE(endless.ok());
    EXPECT_THAT(endless.error().message(), testing::StartsWith("xxx"));
}

}  // namespace
}  // namespace ckptfs::share
