// Files that a command leaves for its user, outside of any source.
#pragma once

#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs::io {

/// Writes `bytes` as the file `path`, in the place of one that is there, at which a symbolic link may lead. It is whole
/// or not there: what it is written to first stands beside it as <path>.partial, and one that is there already stays.
/// What is no regular file (a pipe, a terminal) is written to as it is. `io` with what the system said.
Result<void> write_whole_file(const std::string& path, std::string_view bytes);

}  // namespace ckptfs::io
