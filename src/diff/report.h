// A difference for people, and for programs.
#pragma once

#include <cstddef>
#include <string>

#include "diff/difference.h"

namespace ckptfs::diff {

/// Lines are no longer than `columns`, but where one name is. The largest differences of tensors come first, and only
/// so many are listed.
[[nodiscard]] std::string as_text(const Side& a, const Side& b, const Difference& difference, std::size_t columns);

/// docs/schemas/diff.json says what is in it.
[[nodiscard]] std::string as_json(const Side& a, const Side& b, const Difference& difference);

}  // namespace ckptfs::diff
