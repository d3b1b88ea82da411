// In a mount that is read-only, modes only ever lose bits on their way into it.
#include "fs/attributes.h"

#include <algorithm>
#include <limits>

#include "util/checked.h"

namespace ckptfs {
namespace {

constexpr std::uint32_t write_bits = 0222;
constexpr std::uint64_t block_nbytes = 512;

}  // namespace

Attributes writable_attributes(const FileInfo& info, std::uint64_t inode) {
    Attributes attributes;
    attributes.inode = inode;
    attributes.type = info.type;
    attributes.mode = info.mode;
    constexpr std::uint64_t most_links = std::numeric_limits<std::uint32_t>::max();
    attributes.nlink = static_cast<std::uint32_t>(std::min(info.nlink, most_links));
    attributes.device = info.device;
    attributes.uid = info.uid;
    attributes.gid = info.gid;
    attributes.size = info.stamp.size;
    attributes.blocks = info.blocks;
    attributes.atime_ns = info.atime_ns;
    attributes.mtime_ns = info.stamp.mtime_ns;
    attributes.ctime_ns = info.stamp.ctime_ns;
    return attributes;
}

Attributes passed_through_attributes(const FileInfo& info, std::uint64_t inode) {
    auto attributes = writable_attributes(info, inode);
    // The mode of a symbolic link means nothing, and is 0777 everywhere.
    attributes.mode = info.type == FileType::symlink ? info.mode : info.mode & ~write_bits;
    attributes.nlink = info.type == FileType::directory ? 2 : attributes.nlink;
    return attributes;
}

Attributes virtual_attributes(const FileInfo& info, std::uint64_t inode, std::uint64_t size) {
    auto attributes = passed_through_attributes(info, inode);
    attributes.type = FileType::regular;
    attributes.mode = info.mode & ~write_bits;
    attributes.nlink = 1;
    attributes.size = size;
    attributes.blocks = ceil_divide(size, block_nbytes);
    return attributes;
}

}  // namespace ckptfs
