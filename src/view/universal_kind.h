// DeepSpeed's universal checkpoint as a kind of view.
#pragma once

#include "view/kind.h"

namespace ckptfs::view {

[[nodiscard]] const Kind& universal_kind();

}  // namespace ckptfs::view
