// The whole world, mounts included.
#pragma once

#include "cli/environment.h"

namespace ckptfs {

cli::Environment real_environment();

}  // namespace ckptfs
