// Tags of ZeRO checkpoints for the file system: read once, shown under any request.
#pragma once

#include <memory>

#include "ckptfs/view.h"
#include "view/view_options.h"

namespace ckptfs::view {

/// The TagReader of all ZeRO layouts that ckptfs knows. Its tags keep `options`.
[[nodiscard]] std::unique_ptr<TagReader> zero_tag_reader(ViewOptions options);

}  // namespace ckptfs::view
