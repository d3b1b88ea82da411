// What stands beside the views in the root of a mount that was asked for none.
#pragma once

#include <vector>

#include "ckptfs/view.h"

namespace ckptfs::view {

/// A guard. DeepSpeed that is pointed at the root would find no `latest`, and train from scratch without a word. So
/// there is one, which names a directory whose model states are links that lead nowhere: DeepSpeed opens them, at every
/// stage, and ends in a FileNotFoundError whose path says what to do.
[[nodiscard]] std::vector<StaticEntry> catalogue_guard();

}  // namespace ckptfs::view
