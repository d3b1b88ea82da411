// Owner, mode and times of files that are made of all files of a checkpoint.
#pragma once

#include "ckptfs/source.h"
#include "zero/written.h"

namespace ckptfs::view {

/// The newest times of the files of `families`, and no more than all of them grant.
[[nodiscard]] FileInfo common_info(const std::vector<zero::Family>& families);

}  // namespace ckptfs::view
