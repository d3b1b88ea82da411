// What training libraries keep beside the engine's state that does not follow a change of world size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/source.h"
#include "zero/written.h"

namespace ckptfs::report {

/// Sentences, each naming the files, what the library does with them, and what to do. Of the tag in `directory`, whose
/// parent is where libraries write; "" where that is out of sight. With `world_size` only what matters at that number,
/// without it what may matter at any other than the source's. Reads small files, and none that it does not recognise.
[[nodiscard]] std::vector<std::string> resume_warnings(const Source& source, const std::string& directory,
                                                       const zero::Written& checkpoint,
                                                       std::optional<std::uint64_t> world_size);

}  // namespace ckptfs::report
