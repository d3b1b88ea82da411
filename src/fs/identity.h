// Names for things that live as long as their generation: the same path and generation give the same inode number.
#pragma once

#include <cstdint>
#include <string_view>

#include "ckptfs/source.h"

namespace ckptfs {

/// `inode` is the number to use unless another identity has it already; both halves together tell two identities apart.
struct Identity {
    std::uint64_t inode = 0;
    std::uint64_t check = 0;

    bool operator==(const Identity&) const = default;
};

/// Not cryptographic: a collision of `inode` is handled by InodeTable, and nobody gains by one.
class IdentityHasher {
 public:
    IdentityHasher& add(std::uint64_t number);
    IdentityHasher& add(std::string_view bytes);
    IdentityHasher& add(const FileStamp& stamp);

    [[nodiscard]] Identity identity() const;

 private:
    std::uint64_t inode_ = 0x243f6a8885a308d3;
    std::uint64_t check_ = 0x13198a2e03707344;
};

}  // namespace ckptfs
