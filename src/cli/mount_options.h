// What stands behind -o: the words of fstab and mount.fuse3, told apart from options of ckptfs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::cli {

struct MountOptionWords {
    std::vector<std::string> arguments;       ///< options of ckptfs as the command line writes them: "--world-size=4"
    std::vector<std::string> kernel_options;  ///< for the kernel: "context=..."
    bool read_only = false;                   ///< "ro": what a mount is unless it is to be writable
};

/// Without options that stand in it again later, as mount(8) takes them; those that may be repeated stay.
std::vector<std::string> last_of_each(const std::vector<std::string>& options);

/// The options of ckptfs that -o takes, as it takes them: "world-size=", "allow-other".
[[nodiscard]] std::vector<std::string> mount_option_words();

/// `list`: what followed -o, comma-separated; "\," is a comma within a word. Words that speak to mount(8), systemd or
/// that a mount of ckptfs obeys anyway are ignored. `invalid_argument` names a word that nobody knows, or that
/// lacks a value or has one too many; `skips_unknown` leaves out those that nobody knows.
Result<MountOptionWords> split_mount_options(std::string_view list, bool skips_unknown = false);

}  // namespace ckptfs::cli
