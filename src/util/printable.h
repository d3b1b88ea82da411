// Text from outside, made fit for a line of output.
#pragma once

#include <string>
#include <string_view>

namespace ckptfs {

/// `text` in one line: control characters, which file names may hold, as \xNN.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace ckptfs
