// A mount that somebody else has made, and whose descriptor of /dev/fuse this process was given.
#pragma once

#include <optional>
#include <string>

#include "ckptfs/result.h"
#include "host/mount_options.h"

namespace ckptfs {

/// For messages: "'/mnt'", or "the file system of descriptor 7".
std::string name_of_mount(const MountOptions& options);

/// N of "/dev/fd/N", as libfuse reads a mount point; nullopt for any other path.
std::optional<int> descriptor_of(const std::string& mount_point);

/// Whether `options.descriptor` can be served: /dev/fuse, open for reading and writing, mounted, not unmounted again,
/// and with the kernel's first question still in it. Nothing is read from it. Where the kernel tells which mount it is
/// (Linux 6.16 and later, in a mount namespace that has it), or a mount looks like it, whether that is apart from the
/// source, and can be written if the file system is to. The error (`mount` or `invalid_argument`) says what whoever
/// mounts has to do.
Result<void> check_handed_over(const MountOptions& options);

/// Makes reads wait, and lets no program that is started have the descriptor.
Result<void> take_over(int descriptor);

}  // namespace ckptfs
