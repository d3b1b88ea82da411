// The bytes of pieces, one after the other.
#pragma once

#include <cstddef>
#include <span>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"

namespace ckptfs::verify {

/// Fills `out` with what the pieces of a tensor's elements hold. `internal` where that is not as many bytes, or where a
/// piece is literal bytes, which elements never are; errors of reading else.
Result<void> read_pieces(const PieceList& list, std::span<std::byte> out);

}  // namespace ckptfs::verify
