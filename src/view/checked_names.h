// Which names of a checkpoint can be names of files and directories.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::view {

/// `stem` + `suffix` as the last component of a path: neither empty, "." nor "..", without '/' and NUL, and no longer
/// than Linux allows. `unsupported`, with `display`, the tag or file whose name it is, where it cannot be one.
Result<void> check_file_name(const std::string& display, std::string_view stem, std::string_view suffix);

/// The same of every component of a parameter's name, which is a path of directories.
Result<void> check_directory_name(const std::string& display, std::string_view name);

/// An optimizer's name of a state: a stem that is left over beside those that have a meaning of their own, "fp32" for
/// the masters and "step". `unsupported` where it is one of these.
Result<void> check_state_name(const std::string& display, std::string_view state, std::string_view suffix);

/// `paths`: of all files of a view. `unsupported` where two are the same, or one is a directory on the way to another.
Result<void> check_paths(const std::string& display, std::vector<std::string> paths);

}  // namespace ckptfs::view
