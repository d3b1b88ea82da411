// The command lines that mount.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"

namespace ckptfs::cli {

/// Of `ckptfs --help` alone, beside commands and exit statuses.
inline constexpr const char* mount_notes =
    "A SOURCE with the name of a command is written with ./ in front, such as ./run. One that begins with a dash "
    "stands\n"
    "behind `--`, which ends the options: ckptfs inspect -- -run.\n\n"
    "With --writable MOUNTPOINT may be SOURCE itself. /dev/fd/N is a descriptor of /dev/fuse that was inherited, and\n"
    "that somebody else has mounted: ckptfs serves it, and needs no right to mount.\n"
    "Unmount with `ckptfs umount MOUNTPOINT`, or `fusermount3 -u MOUNTPOINT`.\n";

Result<Arguments> parse_mount(const std::vector<std::string>& arguments);
/// What mount(8) calls as /sbin/mount.ckptfs: its own letters, of which -f is not that of the mount, and all else.
Result<Arguments> parse_mount_helper(const std::vector<std::string>& arguments);
Result<Arguments> parse_run(const std::vector<std::string>& arguments);

}  // namespace ckptfs::cli
