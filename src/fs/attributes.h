// From what the source says of a file to what the mount says.
#pragma once

#include "ckptfs/source.h"
#include "fs/file_system.h"

namespace ckptfs {

/// Of something passed through: as in the source, less the write bits.
Attributes passed_through_attributes(const FileInfo& info, std::uint64_t inode);
/// Of something that can be written: all as in the source.
Attributes writable_attributes(const FileInfo& info, std::uint64_t inode);
/// Of a virtual file of `size` bytes whose owner, mode and times are those of `info`.
Attributes virtual_attributes(const FileInfo& info, std::uint64_t inode, std::uint64_t size);

}  // namespace ckptfs
