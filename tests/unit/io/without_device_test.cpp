// Stamps that do not depend on where something is mounted.
#include "io/without_device.h"

#include <gtest/gtest.h>

#include "support/memory_source.h"

namespace ckptfs::io {
namespace {

/// Whose device is `device`, but for what is called "elsewhere".
class MountedSource final : public test::MemorySource {
 public:
    std::uint64_t device = 17;

    Result<FileInfo> stat(const std::string& path) const override {
        CKPTFS_ASSIGN(FileInfo info, MemorySource::stat(path));
        info.stamp.device = path == "elsewhere" ? 99 : device;
        return info;
    }
};

TEST(WithoutDevice, TheSameFilesHaveTheSameStamps) {
    std::vector<FileStamp> stamps;
    for (const std::uint64_t device : {17U, 23U}) {
        const auto inner = std::make_shared<MountedSource>();
        inner->add("file", "abc");
        inner->add("elsewhere", "abc");
        inner->device = device;
        const auto source = *without_device(inner);
        stamps.push_back(source->stat("file")->stamp);
        EXPECT_EQ(source->stat_target("file")->stamp, stamps.back());
        EXPECT_EQ(source->stat("elsewhere")->stamp.device, 99U);
        EXPECT_EQ(source->stat("")->stamp.device, 0U);
        EXPECT_EQ((*source->open("file"))->size(), 3U);
        EXPECT_EQ(source->list("")->size(), 2U);
        EXPECT_EQ(source->stat("nothing").error().code(), ErrorCode::not_found);
    }
    EXPECT_EQ(stamps[0], stamps[1]);
    EXPECT_EQ(stamps[0].device, 0U);
    EXPECT_NE(stamps[0].inode, 0U);
}

}  // namespace
}  // namespace ckptfs::io
