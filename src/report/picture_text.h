// A picture for a terminal, in block characters.
#pragma once

#include <cstddef>
#include <string>

#include "report/picture.h"

namespace ckptfs::report {

/// No line is longer than `columns`, of which there should be 40 or more.
[[nodiscard]] std::string as_text(const Picture& picture, std::size_t columns);

}  // namespace ckptfs::report
