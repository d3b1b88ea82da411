// The command lines of those who look after mounts.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"

namespace ckptfs::cli {

Result<Arguments> parse_status(const std::vector<std::string>& arguments);
Result<Arguments> parse_list_mounts(const std::vector<std::string>& arguments);
Result<Arguments> parse_unmount(const std::vector<std::string>& arguments);

/// --log-level.
Result<log::Level> parse_log_level(const std::string& text);
/// --log-format.
Result<log::Format> parse_log_format(const std::string& text);

}  // namespace ckptfs::cli
