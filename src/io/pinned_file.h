// One generation of a file of a directory.
#pragma once

#include <memory>
#include <string>

#include "ckptfs/source.h"
#include "io/directory_state.h"

namespace ckptfs::io {

/// Takes the generation of `path` that is there now. `unsupported` for anything but a regular file: a fifo or a device
/// is never opened.
Result<std::shared_ptr<const File>> pin_file(std::shared_ptr<DirectoryState> state, const std::string& path);

}  // namespace ckptfs::io
