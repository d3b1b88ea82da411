// The command lines of ckptfs, parsed and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ckptfs/result.h"
#include "fuse/mount.h"

namespace ckptfs::cli {

struct MountArguments {
    std::string source;
    std::string mount_point;
    std::optional<std::uint64_t> world_size;
    std::string config_file;  ///< --ds-config; empty: none
    std::string log_file;     ///< empty: syslog, or standard error in the foreground
    bool foreground = false;
    bool allow_other = false;
    IoMode io = IoMode::automatic;
    std::vector<std::string> kernel_options;
};

struct InspectArguments {
    std::string source;
    std::optional<std::uint64_t> world_size;
    std::string config_file;
    bool json = false;
};

struct VerifyArguments {
    std::string source;
    std::optional<std::uint64_t> world_size;
    std::string config_file;
    std::string tag;  ///< empty: every tag
};

/// --help or --version: what to print.
struct Text {
    std::string text;
};

using Arguments = std::variant<MountArguments, InspectArguments, VerifyArguments, Text>;

/// `arguments` without the program's name. The command is chosen by the first of them.
/// `invalid_argument` with what is wrong and how to say it right. Paths are as the user gave them.
Result<Arguments> parse_arguments(const std::vector<std::string>& arguments);

/// 1 to 1,048,576 in plain decimal digits.
Result<std::uint64_t> parse_world_size(std::string_view text);

}  // namespace ckptfs::cli
