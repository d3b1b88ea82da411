// struct stat, field by field.
#include "io/file_status.h"

#include <cstdint>

#include "util/timespec.h"

namespace ckptfs::io {
namespace {

constexpr std::uint32_t permission_bits = 07777;

FileStamp stamp_of(const struct stat& status, bool inode_may_change) {
    return {status.st_dev,         status.st_ino,         static_cast<std::uint64_t>(status.st_size),
            to_ns(status.st_mtim), to_ns(status.st_ctim), inode_may_change};
}

}  // namespace

FileType type_of(mode_t mode) {
    if (S_ISREG(mode)) {
        return FileType::regular;
    }
    if (S_ISDIR(mode)) {
        return FileType::directory;
    }
    switch (mode & S_IFMT) {
        case S_IFLNK:
            return FileType::symlink;
        case S_IFIFO:
            return FileType::fifo;
        case S_IFCHR:
            return FileType::character_device;
        case S_IFBLK:
            return FileType::block_device;
        case S_IFSOCK:
            return FileType::socket;
        default:
            return FileType::other;
    }
}

mode_t type_bits(FileType type) {
    switch (type) {
        case FileType::regular:
            return S_IFREG;
        case FileType::directory:
            return S_IFDIR;
        case FileType::symlink:
            return S_IFLNK;
        case FileType::fifo:
            return S_IFIFO;
        case FileType::character_device:
            return S_IFCHR;
        case FileType::block_device:
            return S_IFBLK;
        case FileType::socket:
            return S_IFSOCK;
        case FileType::other:
            return 0;
    }
    return 0;
}

FileInfo info_of(const struct stat& status, bool inode_may_change) {
    FileInfo info;
    info.stamp = stamp_of(status, inode_may_change);
    info.type = type_of(status.st_mode);
    info.mode = status.st_mode & permission_bits;
    info.uid = status.st_uid;
    info.gid = status.st_gid;
    info.nlink = status.st_nlink;
    info.device = status.st_rdev;
    info.atime_ns = to_ns(status.st_atim);
    info.blocks = static_cast<std::uint64_t>(status.st_blocks);
    return info;
}

bool has_same_bytes(const struct stat& now, const struct stat& then, bool inode_may_change) {
    FileStamp stamp = stamp_of(now, inode_may_change);
    const FileStamp pinned = stamp_of(then, inode_may_change);
    const bool explained = now.st_nlink != then.st_nlink || now.st_mode != then.st_mode || now.st_uid != then.st_uid ||
                           now.st_gid != then.st_gid;
    if (explained && now.st_nlink > 0) {
        stamp.ctime_ns = pinned.ctime_ns;
    }
    return stamp == pinned;
}

}  // namespace ckptfs::io
