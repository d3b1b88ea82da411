// The tensors of a dict in a .pt file, by name.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "verify/shown_tensor.h"

namespace ckptfs::verify {

/// Those of the dict at `path`, the keys that lead to it from the root; {}: the root itself. Values that are no tensors
/// are left out. Where a tensor stands at `path` itself, that one, without a name. `damaged` where there is no dict at
/// `path`, or a tensor has no row-major order of its own.
Result<std::vector<ShownTensor>> pickled_tensors(const std::shared_ptr<const File>& file,
                                                 const std::vector<std::string_view>& path);

}  // namespace ckptfs::verify
