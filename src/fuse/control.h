// What a mount can be told, beside operations on files.
#pragma once

#include "fuse/libfuse.h"

namespace ckptfs {

/// Takes set_log_level_request (host/mount_control.h) on the mount's root, from root and the user who serves the mount;
/// ENOTTY for any other request, EPERM for any other user.
void control(fuse_req_t request, fuse_ino_t inode, unsigned command, void* argument, fuse_file_info* file,
             unsigned flags, const void* in, std::size_t in_nbytes, std::size_t out_nbytes) noexcept;

}  // namespace ckptfs
