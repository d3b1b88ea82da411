// What machines that are described in files let a process have, and the budget that is a part of it.
#include "util/machine_limits.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "support/temporary_directory.h"
#include "util/memory_budget.h"

namespace ckptfs {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20U;

class MachineLimits : public testing::Test {
 protected:
    MachineLimits() { write("proc/meminfo", "MemTotal:        8192 kB\nMemFree:         1 kB\n"); }

    void write(const std::string& path, const std::string& text) {
        std::filesystem::create_directories((std::filesystem::path(directory_.path()) / path).parent_path());
        directory_.write(path, text);
    }
    [[nodiscard]] std::uint64_t limit() const { return memory_limit(directory_.path()); }

    test::TemporaryDirectory directory_;
};

TEST_F(MachineLimits, MemoryIsTheHostsWithoutCgroups) {
    EXPECT_EQ(limit(), 8 * mib);
}

TEST_F(MachineLimits, MemoryIsTheLeastOfAVersion2CgroupAndThoseAboveIt) {
    write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
    write("proc/self/cgroup", "0::/job/step/task\n");
    write("sys/fs/cgroup/job/memory.max", "3145728\n");
    write("sys/fs/cgroup/job/step/memory.max", "max\n");
    write("sys/fs/cgroup/job/step/task/memory.max", "4194304\n");
    EXPECT_EQ(limit(), 3 * mib);
    write("sys/fs/cgroup/job/step/task/memory.max", "1048576\n");
    EXPECT_EQ(limit(), mib);
}

TEST_F(MachineLimits, MemoryIsThatOfAVersion1Cgroup) {
    write("proc/self/mountinfo",
          "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
          "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    write("proc/self/cgroup", "5:cpu,cpuacct:/elsewhere\n4:memory:/job\n0::/unified\n");
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2097152\n");
    EXPECT_EQ(limit(), 2 * mib);
}

TEST_F(MachineLimits, MemorySeesAContainersOwnCgroupAtItsMountPoint) {
    write("proc/self/mountinfo", "32 30 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    write("proc/self/cgroup", "4:memory:/docker/abc\n");
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");
    EXPECT_EQ(limit(), 2 * mib);
}

TEST_F(MachineLimits, ProcessorsAreThoseThatThereAreWithoutCgroups) {
    EXPECT_EQ(processor_limit(7, directory_.path()), 7U);
    EXPECT_EQ(processor_limit(0, directory_.path()), 1U) << "nobody knows how many";
}

TEST(Processors, AreThoseThatAThreadMayRunOn) {
    const std::size_t before = processors_to_run_on();
    std::thread([before] {
        cpu_set_t of_thread{};
        ASSERT_EQ(::sched_getaffinity(0, sizeof of_thread, &of_thread), 0);
        EXPECT_EQ(processors_to_run_on(), before);
        std::size_t first = 0;
        while (!CPU_ISSET(first, &of_thread)) {
            ++first;
        }
        CPU_ZERO(&of_thread);
        CPU_SET(first, &of_thread);
        ASSERT_EQ(::sched_setaffinity(0, sizeof of_thread, &of_thread), 0);
        EXPECT_EQ(processors_to_run_on(), 1U);
    }).join();
    EXPECT_EQ(processors_to_run_on(), before);
}

TEST_F(MachineLimits, ProcessorsAreTheLeastTimeOfAVersion2CgroupAndThoseAboveIt) {
    write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
    write("proc/self/cgroup", "0::/pod/container\n");
    write("sys/fs/cgroup/pod/container/cpu.max", "max 100000\n");
    EXPECT_EQ(processor_limit(64, directory_.path()), 64U);
    write("sys/fs/cgroup/pod/cpu.max", "800000 100000\n");
    EXPECT_EQ(processor_limit(64, directory_.path()), 8U);
    EXPECT_EQ(processor_limit(4, directory_.path()), 4U);
    write("sys/fs/cgroup/pod/container/cpu.max", "150000 100000\n");
    EXPECT_EQ(processor_limit(64, directory_.path()), 2U) << "a part of one is one";
    for (const char* const said : {"", "150000\n", "150000 0\n", "some 100000\n"}) {
        write("sys/fs/cgroup/pod/container/cpu.max", said);
        EXPECT_EQ(processor_limit(64, directory_.path()), 8U) << said;
    }
}

TEST_F(MachineLimits, ProcessorsAreThoseOfAVersion1Cgroup) {
    write("proc/self/mountinfo", "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
    write("proc/self/cgroup", "5:cpu,cpuacct:/job\n4:memory:/elsewhere\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(processor_limit(64, directory_.path()), 64U);
    write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "400000\n");
    write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(processor_limit(64, directory_.path()), 4U);
}

TEST(MemoryBudget, IsSharedByAllReservations) {
    MemoryBudget budget([] { return 100; });
    {
        MemoryReservation one(budget);
        MemoryReservation other(budget);
        EXPECT_TRUE(one.resize(60));
        EXPECT_FALSE(other.resize(41));
        EXPECT_TRUE(other.resize(40));
        EXPECT_TRUE(one.resize(10));
        EXPECT_TRUE(other.resize(90));
        MemoryReservation moved(std::move(other));
        EXPECT_EQ(budget.held(), 100U);
    }
    EXPECT_EQ(budget.held(), 0U);
}

TEST(MemoryBudget, AsksThoseWhoKeepSomethingBeforeItRefuses) {
    MemoryBudget budget([] { return 100; });
    MemoryReservation kept(budget);
    ASSERT_TRUE(kept.resize(80));
    int asked = 0;
    {
        const MemoryReclaimer reclaimer(budget, [&] {
            ++asked;
            kept.resize(10);
        });
        MemoryReservation wanted(budget);
        EXPECT_TRUE(wanted.resize(20)) << "there is room";
        EXPECT_EQ(asked, 0);
        EXPECT_FALSE(wanted.resize(200)) << "nothing that anybody lets go of would do";
        EXPECT_EQ(asked, 0);
        EXPECT_TRUE(wanted.resize(90));
        EXPECT_EQ(asked, 1);
        MemoryReservation other(budget);
        EXPECT_FALSE(other.resize(1));
        EXPECT_EQ(asked, 2);
        EXPECT_EQ(budget.held(), 100U);
    }
    MemoryReservation later(budget);
    EXPECT_FALSE(later.resize(95));
    EXPECT_EQ(asked, 2) << "that one is no longer there";
}

TEST(MemoryBudget, OfTheProcessCanBeLimited) {
    MemoryBudget::limit_process(12'345);
    EXPECT_EQ(MemoryBudget::of_process().limit(), 12'345U);
    MemoryBudget::limit_process(0);
    EXPECT_GT(MemoryBudget::of_process().limit(), mib);
}

TEST(MemoryBudget, OfTheProcessHasALimit) {
    EXPECT_GT(MemoryBudget::of_process().limit(), 0U);
    EXPECT_LE(MemoryBudget::of_process().limit(), memory_limit() / 4 + mib);
}

}  // namespace
}  // namespace ckptfs
