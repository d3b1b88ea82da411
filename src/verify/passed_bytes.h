// How bytes of a source that somebody reads reach whoever else needs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "ckptfs/source.h"

namespace ckptfs::verify {

/// Told of bytes that were read of a file of the source, from `offset` on. Called by several threads at a time, also
/// more than once for the same bytes.
using PassedBytes = std::function<void(const File& file, std::uint64_t offset, std::span<const std::byte> bytes)>;

}  // namespace ckptfs::verify
