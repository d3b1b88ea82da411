// An AttributeChange, system call by system call.
#pragma once

#include <string>

#include "io/source_writer.h"
#include "io/system_calls.h"

namespace ckptfs::io {

// 0, or minus the errno of the first call that failed: what comes before it has been done by then. The size comes
// first, since the caller may take its own right to write, then the owner, which costs the set-user-ID bits, then the
// mode, and the times at last, since all else moves them.

/// `fd` is open, and for writing where there is a size.
int change_open_file(int fd, const AttributeChange& change);
/// `fd` is O_PATH, `entry` a path that leads to what it refers to. Of a symbolic link all but size and mode.
int change_entry(const SystemCalls& calls, int fd, const std::string& entry, const AttributeChange& change);

}  // namespace ckptfs::io
