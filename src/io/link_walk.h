// Following symbolic links one by one, as the kernel would, but never into a mount of ckptfs.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "io/system_calls.h"

namespace ckptfs::io {

/// Where `path` leads once every symbolic link on its way has been followed: a path relative to the directory `root`,
/// or, where that is not below it, an absolute one; neither has a link in it. `path` is relative to `root` or absolute.
/// Whatever is `root` by device and inode counts as it, so that other names of it (links, bind mounts) are seen too.
/// `not_found` where it leads nowhere; `unsupported` where it leads into a mount of ckptfs, which may be the caller's
/// own: following it there would wait for itself, and show a view of a view. Asks no FUSE daemon for the check.
Result<std::string> follow_links(const SystemCalls& calls, int root, const std::string& path);

}  // namespace ckptfs::io
