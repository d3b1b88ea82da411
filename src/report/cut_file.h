// What one file of a view is made of, for whoever looks into many of them.
#pragma once

#include <cstddef>

#include "ckptfs/view.h"
#include "report/description.h"
#include "zero/written.h"

namespace ckptfs::report {

/// `file`: what `view` opened as file `index`.
[[nodiscard]] CutFile describe_file(const zero::Written& checkpoint, const View& view, std::size_t index,
                                    const File& file);

}  // namespace ckptfs::report
