// What the system says of a file, in the terms of a Source.
#pragma once

#include <sys/stat.h>

#include "ckptfs/source.h"

namespace ckptfs::io {

FileType type_of(mode_t mode);
/// The bits of S_IFMT; 0 of `other`.
mode_t type_bits(FileType type);
FileInfo info_of(const struct stat& status, bool inode_may_change = false);

/// Whether a file that had the status `then` has the same bytes. A ctime that moved although nothing was written must
/// have its reason in what else is there to see: a hard link more or less, another mode or owner.
bool has_same_bytes(const struct stat& now, const struct stat& then, bool inode_may_change);

}  // namespace ckptfs::io
