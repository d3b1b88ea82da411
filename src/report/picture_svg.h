// A picture as one SVG file, for documents.
#pragma once

#include <string>

#include "report/description.h"
#include "report/picture.h"

namespace ckptfs::report {

/// `description`: with a checkpoint. `picture`: with its files. Light and dark as the reader prefers; no script.
[[nodiscard]] std::string as_svg(const Description& description, const Picture& picture);

}  // namespace ckptfs::report
