// Hjson (https://hjson.github.io), in which DeepSpeed reads its config files: JSON with comments, trailing commas, and
// keys and strings without quotes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs::zero {

/// What Python's hjson 3.1.0 makes of the same text. `invalid_argument` for what it refuses, for a key that an object
/// has twice (as DeepSpeed, which passes dict_raise_error_on_duplicate_keys), and for what a config cannot mean: more
/// than 400 levels, numbers outside a double, halves of surrogate pairs. Messages begin with `name`, the line and the
/// column.
Result<nlohmann::json> parse_hjson(std::string_view text, const std::string& name);

}  // namespace ckptfs::zero
