// The operations of a mount that can be written.
#pragma once

#include "fuse/libfuse.h"

namespace ckptfs {

/// Puts them in the place of those that a read-only mount has instead. The rest is the same for both.
void set_writing_operations(fuse_lowlevel_ops& operations);

}  // namespace ckptfs
