// User namespaces in which a user is itself, one for several processes.
#include "share/user_namespace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "share/program.h"

// The thread sanitizer has a thread of its own in every process, and who has two cannot enter a user namespace.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CKPTFS_HAS_ONE_THREAD 0
#endif
#endif
#if !defined(CKPTFS_HAS_ONE_THREAD)
#define CKPTFS_HAS_ONE_THREAD 1
#endif

namespace ckptfs::share {
namespace user_namespace {
namespace {

#if CKPTFS_HAS_ONE_THREAD

std::string namespace_of(const std::string& process) {
    return std::filesystem::read_symlink("/proc/" + process + "/ns/user").string();
}

/// Whether a program that has entered `path` first is where, and who, it should be.
int exit_code_in(const std::string& path, const std::string& condition) {
    const auto ended = run_program({.arguments = {"sh", "-c", "N=$(readlink /proc/self/ns/user); " + condition},
                                    .environment = {},
                                    .inherited = -1,
                                    .prepare = [&] { return enter_user_namespace(path); }},
                                   SignalMask());
    EXPECT_TRUE(ended.ok()) << ended.error().message();
    return ended.ok() ? ended->exit_code : -1;
}

TEST(UserNamespace, SeveralProcessesShareOne) {
    const auto made = make_user_namespace();
    ASSERT_TRUE(made.ok()) << made.error().message();
    const std::string name = std::filesystem::read_symlink(path_of_namespace(*made)).string();
    EXPECT_NE(name, namespace_of("self"));
    const std::string ids = std::to_string(::geteuid()) + " " + std::to_string(::getegid());
    for (int process = 0; process < 2; ++process) {
        EXPECT_EQ(exit_code_in(path_of_namespace(*made),
                               "test $N = '" + name + "' && test \"$(id -u) $(id -g)\" = '" + ids + "'"),
                  0);
    }
}

TEST(UserNamespace, WithoutOneAProcessHasItsOwn) {
    const std::string outside = namespace_of("self");
    for (const char* path : {"", "/nowhere", "/dev/null", "/proc/self/ns/mnt"}) {
        EXPECT_EQ(exit_code_in(path, "test $N != '" + outside + "' && test $(id -u) = " + std::to_string(::geteuid())),
                  0)
            << path;
    }
}

#endif

TEST(UserNamespace, TheAdviceEndsWithRoot) {
    EXPECT_THAT(advice_on_namespaces(), testing::EndsWith("; or run ckptfs as root"));
}

}  // namespace
}  // namespace user_namespace
}  // namespace ckptfs::share
