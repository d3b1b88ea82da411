// Names as words of a line of text.
#pragma once

#include <string>
#include <string_view>

namespace ckptfs::exporting {

/// Blanks, '%', and whatever is not printable ASCII as %XX; different texts stay different. "%" stands for none.
[[nodiscard]] std::string encoded(std::string_view text);

/// The text of a word; what encoded() has not written is left as it is.
[[nodiscard]] std::string decoded(std::string_view word);

}  // namespace ckptfs::exporting
