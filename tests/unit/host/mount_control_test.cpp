// Processes that are waited for, and mount points that do not answer; real mounts are in tests/mount/test_operators.py.
#include "host/mount_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

#include "host/job_signals.h"
#include "support/temporary_directory.h"

namespace ckptfs {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Processes, AreReadBackAsTheyAreWritten) {
    const ProcessId self = this_process();
    EXPECT_EQ(self.number, ::getpid());
    EXPECT_GT(self.started, 0U);
    EXPECT_EQ(parse_process_id(text_of(self)).value(), self);
    for (const char* text : {"", "12", "12 ", " 12 3", "12 3 ", "-1 3", "0 3", "12 x", "99999999999 3"}) {
        EXPECT_FALSE(parse_process_id(text)) << text;
    }
}

TEST(Processes, RunUntilTheyHaveEnded) {
    ProcessId self = this_process();
    EXPECT_TRUE(is_running(self));
    ++self.started;
    EXPECT_FALSE(is_running(self)) << "another one with the same number";
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(0);
    }
    siginfo_t ended{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
    EXPECT_FALSE(is_running({child, this_process().started})) << "it waits for its parent only";
    ::waitpid(child, nullptr, 0);
}

TEST(MountControl, ADirectoryIsNoMount) {
    const test::TemporaryDirectory directory;
    const auto answer = ask_mount(directory.path(), "status");
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), ErrorCode::mount);
    EXPECT_THAT(answer.error().message(), AllOf(HasSubstr(directory.path()), HasSubstr("no mount of ckptfs")));
    const auto set = set_log_level_of(directory.path(), log::Level::debug);
    ASSERT_FALSE(set);
    EXPECT_THAT(set.error().message(), HasSubstr("no mount of ckptfs"));
    EXPECT_THAT(ask_mount(directory / "absent", "status").error().message(), HasSubstr("ckptfs list"));
}

TEST(MountControl, WhatIsNotMountedCannotBeUnmounted) {
    const test::TemporaryDirectory directory;
    for (const auto how : {Unmounting::if_unused, Unmounting::lazily}) {
        const auto done = unmount(directory.path(), how);
        ASSERT_FALSE(done);
        EXPECT_EQ(done.error().code(), ErrorCode::mount);
        EXPECT_THAT(done.error().message(), HasSubstr("cannot be unmounted"));
    }
}

TEST(MountControl, AMountPointHasNoLinksOnItsWay) {
    const test::TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "place");
    std::filesystem::create_directory_symlink("place", directory / "link");
    const std::string real = std::filesystem::canonical(directory / "place").string();
    EXPECT_EQ(real_mount_point(directory / "link").value(), real);
    EXPECT_EQ(real_mount_point(directory / "place/").value(), real);
    EXPECT_FALSE(real_mount_point(directory / "absent"));
}

TEST(Signals, HaveNamesAndSenders) {
    EXPECT_EQ(name_of_signal(SIGTERM), "SIGTERM");
    EXPECT_EQ(name_of_signal(SIGUSR1), "SIGUSR1");
    EXPECT_EQ(name_of_signal(SIGRTMIN + 3), "SIGRTMIN+3");
    EXPECT_EQ(name_of_signal(SIGSEGV), "signal 11");
    EXPECT_EQ(sender_of_signal(1, 7), " from process 1 of user 7");
    EXPECT_EQ(sender_of_signal(::getpid(), 7), " from ckptfs itself");
    EXPECT_EQ(sender_of_signal(0, 0), " from the kernel or the terminal");
}

}  // namespace
}  // namespace ckptfs
