// Two independent 64-bit lanes over 8-byte blocks, each mixed by the finalizer of SplitMix64.
#include "fs/identity.h"

#include <algorithm>
#include <cstring>

namespace ckptfs {
namespace {

std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111eb;
    return x ^ (x >> 31U);
}

}  // namespace

IdentityHasher& IdentityHasher::add(std::uint64_t number) {
    inode_ = mix(inode_ ^ number) + 0x9e3779b97f4a7c15;
    check_ = mix(check_ + number * 0xd6e8feb86659fd93) ^ 0xa0761d6478bd642f;
    return *this;
}

IdentityHasher& IdentityHasher::add(std::string_view bytes) {
    add(static_cast<std::uint64_t>(bytes.size()));
    while (!bytes.empty()) {
        const auto length = std::min(bytes.size(), sizeof(std::uint64_t));
        std::uint64_t block = 0;
        std::memcpy(&block, bytes.data(), length);
        add(block);
        bytes.remove_prefix(length);
    }
    return *this;
}

IdentityHasher& IdentityHasher::add(const FileStamp& stamp) {
    return add(stamp.device)
        .add(stamp.inode_may_change ? 0 : stamp.inode)
        .add(stamp.size)
        .add(static_cast<std::uint64_t>(stamp.mtime_ns))
        .add(static_cast<std::uint64_t>(stamp.ctime_ns));
}

Identity IdentityHasher::identity() const {
    return {mix(inode_), mix(check_)};
}

}  // namespace ckptfs
