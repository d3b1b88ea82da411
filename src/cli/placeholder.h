// `{}` in the COMMAND of `ckptfs run`.
#pragma once

#include <string>
#include <string_view>

namespace ckptfs::cli {

/// `word` with `view` in the place of every `{}`, and `{}` in the place of every `{{}}`.
[[nodiscard]] std::string with_view(std::string_view word, std::string_view view);

}  // namespace ckptfs::cli
