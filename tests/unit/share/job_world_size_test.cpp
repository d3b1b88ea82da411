// --world-size=auto: which number counts, and what is said of it.
#include "share/job_world_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "support/temporary_directory.h"

namespace ckptfs::share {
namespace {

using testing::HasSubstr;

class OfJob : public testing::Test {
 protected:
    Result<JobWorldSize> found(const std::map<std::string, std::string>& values) const {
        const auto variable = [&](const std::string& name) {
            const auto at = values.find(name);
            return at == values.end() ? std::nullopt : std::optional(at->second);
        };
        return job_world_size(variable, root_.path());
    }
    void expect(const std::map<std::string, std::string>& values, std::uint64_t world_size,
                const std::string& origin) const {
        const auto result = found(values);
        ASSERT_TRUE(result.ok()) << result.error().message();
        EXPECT_EQ(result->world_size, world_size);
        EXPECT_EQ(result->origin, origin);
        EXPECT_EQ(result->warning, "");
    }
    void expect_error(const std::map<std::string, std::string>& values, const std::string& says) const {
        const auto result = found(values);
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(result.error().message(), HasSubstr(says));
    }
    void make(const std::string& directory) const { std::filesystem::create_directories(root_ / directory); }

    ckptfs::test::TemporaryDirectory root_;
};

TEST_F(OfJob, WorldSizeComesFirst) {
    expect({{"WORLD_SIZE", "6"}, {"SLURM_NTASKS", "3"}, {"CUDA_VISIBLE_DEVICES", "0"}}, 6, "WORLD_SIZE");
    expect({{"SLURM_NTASKS", "3"}, {"SLURM_NNODES", "1"}, {"CUDA_VISIBLE_DEVICES", "0"}}, 3, "SLURM_NTASKS");
}

TEST_F(OfJob, WhatIsNoWorldSizeIsAnErrorAndNotPassedOver) {
    expect_error({{"WORLD_SIZE", ""}, {"SLURM_NTASKS", "3"}}, "takes WORLD_SIZE: the world size is empty");
    expect_error({{"WORLD_SIZE", "0"}}, "takes WORLD_SIZE: ");
    expect_error({{"SLURM_NTASKS", "2(x3)"}}, "takes SLURM_NTASKS: ");
}

TEST_F(OfJob, AsManyTasksAsNodesIsDoubtful) {
    for (const char* nodes : {"1", "2"}) {
        const auto result = found({{"SLURM_NTASKS", nodes}, {"SLURM_NNODES", nodes}});
        ASSERT_TRUE(result.ok());
        EXPECT_EQ(std::to_string(result->world_size), nodes);
        EXPECT_THAT(result->warning, HasSubstr("as many as there are nodes"));
    }
    // The launcher has said it.
    expect({{"WORLD_SIZE", "2"}, {"SLURM_NTASKS", "2"}, {"SLURM_NNODES", "2"}}, 2, "WORLD_SIZE");
}

TEST_F(OfJob, VisibleDevicesAreCountedAsCudaDoes) {
    const std::string origin = " (CUDA_VISIBLE_DEVICES)";
    expect({{"CUDA_VISIBLE_DEVICES", "3"}}, 1, "1 visible GPU" + origin);
    expect({{"CUDA_VISIBLE_DEVICES", "0,1,5"}}, 3, "3 visible GPUs" + origin);
    expect({{"CUDA_VISIBLE_DEVICES", "0, 1"}}, 2, "2 visible GPUs" + origin);
    expect({{"CUDA_VISIBLE_DEVICES", "0,-1,1"}}, 1, "1 visible GPU" + origin);
    expect({{"CUDA_VISIBLE_DEVICES", "GPU-8932f937,MIG-GPU-1/2/3"}}, 2, "2 visible GPUs" + origin);
    make("dev/nvidia0");  // hidden
    for (const char* none : {"", "-1", "NoDevFiles"}) {
        expect_error({{"CUDA_VISIBLE_DEVICES", none}}, "no GPU is visible");
    }
}

TEST_F(OfJob, WithoutVariablesTheDriversDevicesCount) {
    expect_error({}, "give --world-size=N");
    for (const char* name : {"nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia", "sda"}) {
        make(std::string("dev/") + name);
    }
    expect({}, 2, "2 visible GPUs (/dev)");
    make("proc/driver/nvidia/gpus/0000:07:00.0");
    make("proc/driver/nvidia/gpus/0000:0b:00.0");
    make("proc/driver/nvidia/gpus/0000:48:00.0");
    expect({}, 3, "3 visible GPUs (/proc/driver/nvidia/gpus)");
}

}  // namespace
}  // namespace ckptfs::share
