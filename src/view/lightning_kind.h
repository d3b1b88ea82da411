// Lightning's single checkpoint file as a kind of view.
#pragma once

#include "view/kind.h"

namespace ckptfs::view {

[[nodiscard]] const Kind& lightning_kind();

}  // namespace ckptfs::view
