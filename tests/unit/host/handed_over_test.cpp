// Descriptors that cannot be served; those that can are in tests/mount/test_descriptor.py.
#include "host/handed_over.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <climits>

#include "host/mount_point.h"

namespace ckptfs {
namespace {

using testing::HasSubstr;

TEST(HandedOver, AMountPointNamesADescriptorAsLibfuseReadsIt) {
    EXPECT_EQ(descriptor_of("/dev/fd/7"), 7);
    EXPECT_EQ(descriptor_of("/dev/fd/0"), 0);
    EXPECT_EQ(descriptor_of("/dev/fd/" + std::to_string(INT_MAX)), INT_MAX);
    for (const char* path : {"/dev/fd", "/dev/fd/", "/dev/fd/-7", "/dev/fd/+7", "/dev/fd/ 7", "/dev/fd/7/",
                             "/dev/fd/7x", "/mnt/dev/fd/7", "/dev/fd/99999999999", ""}) {
        EXPECT_EQ(descriptor_of(path), std::nullopt) << path;
    }
}

TEST(HandedOver, WhatIsNoDeviceIsNamed) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    MountOptions options;
    options.source = "/source";
    options.descriptor = pipe[0];
    const auto checked = check_mount_point(options);
    ::close(pipe[0]);
    ::close(pipe[1]);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code(), ErrorCode::mount);
    EXPECT_THAT(checked.error().message(),
                HasSubstr("of descriptor " + std::to_string(*options.descriptor) + ": it is a pipe"));
    const auto closed = check_mount_point(options);
    ASSERT_FALSE(closed);
    EXPECT_THAT(closed.error().message(), HasSubstr("no such descriptor is open here"));
}

TEST(HandedOver, ADescriptorIsMadeToWaitAndKeptFromPrograms) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_NONBLOCK), 0);
    EXPECT_TRUE(take_over(pipe[0]));
    EXPECT_EQ(::fcntl(pipe[0], F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(::fcntl(pipe[0], F_GETFD), FD_CLOEXEC);
    ::close(pipe[0]);
    ::close(pipe[1]);
    EXPECT_FALSE(take_over(pipe[0]));
}

TEST(HandedOver, MessagesNameWhatIsServed) {
    MountOptions options;
    options.mount_point = "/mnt";
    EXPECT_EQ(name_of_mount(options), "'/mnt'");
    options.descriptor = 7;
    EXPECT_EQ(name_of_mount(options), "the file system of descriptor 7");
}

}  // namespace
}  // namespace ckptfs
