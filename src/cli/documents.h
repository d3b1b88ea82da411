// What is installed beside the program, and printed by `ckptfs help`: manual pages, and completion for shells.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/description.h"

namespace ckptfs::cli {

/// ckptfs(1), in the macros of man(7), of the commands as --help has them. `date`: YYYY-MM-DD.
[[nodiscard]] std::string manual_page(const std::vector<CommandDescription>& commands, std::string_view date);
/// mount.ckptfs(8), of what that program says with --help.
[[nodiscard]] std::string mount_helper_page(const CommandDescription& helper, std::string_view date);

/// Scripts that complete commands, options and their values. `mount_words`: what may stand behind -o.
[[nodiscard]] std::string bash_completion(const std::vector<CommandDescription>& commands,
                                          const std::vector<std::string>& mount_words);
[[nodiscard]] std::string zsh_completion(const std::vector<CommandDescription>& commands);

}  // namespace ckptfs::cli
