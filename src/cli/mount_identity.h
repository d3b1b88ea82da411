// What a mount of the command line has in common with another that may share it.
#pragma once

#include "cli/arguments.h"
#include "share/shared_place.h"

namespace ckptfs::cli {

/// The paths of `arguments` are absolute.
[[nodiscard]] share::MountIdentity mount_identity(const MountArguments& arguments);

}  // namespace ckptfs::cli
