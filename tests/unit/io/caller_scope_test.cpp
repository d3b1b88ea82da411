// Who a thread is while it acts as a caller, and that it is itself again afterwards.
#include "io/caller_scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <barrier>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <thread>

#include "support/fake_caller.h"

namespace ckptfs::io {
namespace acting {
namespace {

using test::FakeCaller;

constexpr std::uint32_t alice = 61001;
constexpr std::uint32_t bob = 61002;
constexpr std::uint32_t staff = 62001;
constexpr std::uint32_t guests = 62002;

/// What the kernel says of this thread: user, group, groups and capabilities.
std::map<std::string, std::string> identity() {
    std::map<std::string, std::string> fields;
    std::ifstream status("/proc/thread-self/status");
    std::string line;
    while (std::getline(status, line)) {
        const std::string name = line.substr(0, line.find(':'));
        if (name == "Uid" || name == "Gid" || name == "Groups" || name == "CapEff" || name == "CapPrm") {
            fields[name] = line.substr(name.size() + 2);
        }
    }
    return fields;
}

mode_t umask_of_this_thread() {
    const mode_t found = ::umask(0);
    ::umask(found);
    return found;
}

class CallerScopeTest : public ::testing::Test {
 protected:
    void SetUp() override {
        if (::geteuid() != 0) {
            GTEST_SKIP() << "only root can act as somebody else";
        }
    }
    /// That a thread becomes nobody else for this caller, and stays what it is.
    static void expect_refused(const FakeCaller& caller, int error) {
        const auto before = identity();
        {
            const CallerScope scope(caller);
            EXPECT_EQ(scope.error(), error);
            EXPECT_EQ(identity(), before);
        }
        EXPECT_EQ(identity(), before);
    }
};

TEST_F(CallerScopeTest, IsTheCallerAndThenItselfAgain) {
    const auto before = identity();
    {
        const CallerScope scope(FakeCaller(alice, staff, {guests, staff}));
        ASSERT_EQ(scope.error(), 0);
        const auto now = identity();
        EXPECT_EQ(now.at("Uid"), "0\t0\t0\t61001");
        EXPECT_EQ(now.at("Gid"), "0\t0\t0\t62001");
        EXPECT_EQ(now.at("Groups"), "62001 62002 ");
        EXPECT_EQ(now.at("CapEff"), "0000000000000000");
    }
    EXPECT_EQ(identity(), before);
    EXPECT_NE(before.at("CapEff"), "0000000000000000");
}

TEST_F(CallerScopeTest, WhatTheKernelIsHandedTakesOneCapabilityAndNoOther) {
    constexpr std::uint64_t sys_admin = 1U << 21U;
    const auto before = identity();
    {
        const CallerScope scope(FakeCaller(alice, staff, {guests}), CallerScope::Umask::unused,
                                CallerScope::Kept::sys_admin);
        ASSERT_EQ(scope.error(), 0);
        EXPECT_EQ(identity().at("Uid"), "0\t0\t0\t61001");
        EXPECT_EQ(std::stoull(identity().at("CapEff"), nullptr, 16),
                  std::stoull(before.at("CapEff"), nullptr, 16) & sys_admin);
    }
    EXPECT_EQ(identity(), before);
}

TEST_F(CallerScopeTest, RootInAnotherGroupKeepsWhatRootMay) {
    const auto before = identity();
    {
        const CallerScope scope(FakeCaller(0, staff));
        ASSERT_EQ(scope.error(), 0);
        EXPECT_EQ(identity().at("Gid"), "0\t0\t0\t62001");
        EXPECT_EQ(identity().at("CapEff"), before.at("CapEff"));
    }
    EXPECT_EQ(identity(), before);
}

TEST_F(CallerScopeTest, WhoCannotBeBecomeIsAnError) {
    FakeCaller caller(alice, staff);
    caller.groups_error = ESRCH;
    expect_refused(caller, ESRCH);
    std::vector<std::uint32_t> too_many(70000);
    std::iota(too_many.begin(), too_many.end(), 1U);
    expect_refused(FakeCaller(alice, staff, too_many), EINVAL);
    expect_refused(FakeCaller(UINT32_MAX, staff), EOVERFLOW);
    expect_refused(FakeCaller(alice, UINT32_MAX), EOVERFLOW);
    expect_refused(FakeCaller(0, UINT32_MAX), EOVERFLOW);
    const CallerScope scope(FakeCaller(alice, staff));
    EXPECT_EQ(scope.error(), 0) << "and the next one is served";
}

TEST_F(CallerScopeTest, AGroupThatIsRefusedLeavesNothingBehind) {
    // The last of the groups is no number of one, which the kernel finds when it has looked at the others.
    expect_refused(FakeCaller(alice, staff, {guests, UINT32_MAX}), EINVAL);
}

TEST_F(CallerScopeTest, NoOtherThreadIsTouched) {
    const auto before = identity();
    const mode_t umask_before = umask_of_this_thread();
    std::barrier meeting(3);
    const auto act = [&](std::uint32_t user, std::uint32_t group, mode_t umask) {
        for (int round = 0; round < 100; ++round) {
            FakeCaller caller(user, group, {group + 10});
            caller.umask_is = umask;
            {
                const CallerScope scope(caller, CallerScope::Umask::applied);
                EXPECT_EQ(scope.error(), 0);
                meeting.arrive_and_wait();
                EXPECT_EQ(identity().at("Uid"), "0\t0\t0\t" + std::to_string(user));
                EXPECT_EQ(identity().at("Gid"), "0\t0\t0\t" + std::to_string(group));
                EXPECT_EQ(identity().at("Groups"), std::to_string(group + 10) + " ");
                EXPECT_EQ(umask_of_this_thread(), umask);
                meeting.arrive_and_wait();
            }
            EXPECT_EQ(identity(), before);
            EXPECT_EQ(umask_of_this_thread(), umask_before);
        }
    };
    std::thread first([&] { act(alice, staff, 077); });
    std::thread second([&] { act(bob, guests, 02); });
    for (int round = 0; round < 100; ++round) {
        meeting.arrive_and_wait();
        EXPECT_EQ(identity(), before);
        EXPECT_EQ(umask_of_this_thread(), umask_before);
        meeting.arrive_and_wait();
    }
    first.join();
    second.join();
}

TEST_F(CallerScopeTest, GroupsAreAskedForWhereTheyCountOnly) {
    const FakeCaller me;
    {
        const CallerScope scope(me, CallerScope::Umask::applied);
        EXPECT_EQ(scope.error(), 0);
        EXPECT_TRUE(remember(me).ok());
    }
    EXPECT_EQ(me.asked_for_groups, 0);
    FakeCaller other(alice, staff, {guests});
    other.umask_is = 07;
    const auto remembered = remember(other);
    EXPECT_EQ(other.asked_for_groups, 1);
    EXPECT_EQ(remembered.value->groups().value, other.groups_are);
    EXPECT_EQ(remembered.value->uid(), alice);
    EXPECT_EQ(remembered.value->gid(), staff);
    EXPECT_EQ(remembered.value->umask(), 07U);
    other.groups_error = ESRCH;
    EXPECT_EQ(remember(other).error, ESRCH);
}

}  // namespace
}  // namespace acting
}  // namespace ckptfs::io
