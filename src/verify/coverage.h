// Whether a view shows every element of a state exactly once: arithmetic on pieces, nothing is read.
#pragma once

#include <string>

#include "ckptfs/extent.h"

namespace ckptfs::verify {

/// Compares the union of the source runs behind `view`, whose pieces lie in virtual files, with that of `source`, both
/// of a state of the same parameters. Empty: every element exactly once. Otherwise what is wrong: shown twice, not
/// shown, or foreign bytes.
[[nodiscard]] std::string fault_in_coverage(const PieceList& source, const PieceList& view);

}  // namespace ckptfs::verify
