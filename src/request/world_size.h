// A world size as options and environment variables give it.
#pragma once

#include <cstdint>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs {

/// 1 to max_world_size in plain decimal digits; `invalid_argument` for anything else, with the reason.
Result<std::uint64_t> parse_world_size(std::string_view text);

}  // namespace ckptfs
