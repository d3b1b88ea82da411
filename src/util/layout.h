// Text laid out for a terminal of so many columns. Names are never taken apart: a line is longer where one name is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ckptfs {

/// Characters as a terminal counts them: the bytes of one UTF-8 sequence are one.
[[nodiscard]] std::size_t shown_width(std::string_view text);
/// What of `text` is shown in `columns`: whole characters from its beginning on.
[[nodiscard]] std::string_view shown_prefix(std::string_view text, std::size_t columns);

/// `text`, which is printable(), so that wrapped() keeps it in one line.
[[nodiscard]] std::string unbroken(std::string_view text);

/// A sentence in lines of at most `columns`, each with its newline. The first begins with `first`, the others with as
/// many spaces as `rest` says. Lines end at spaces alone, but for those within quotes and within what is unbroken().
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t columns, std::string_view first, std::size_t rest);

/// As table() in text.h, in at most `columns`: the last column is wrapped(), and stands below the rest of its row where
/// too little room is left for it. A first cell that leaves too little for the others has a line of its own.
[[nodiscard]] std::string fitted_table(const std::vector<std::vector<std::string>>& rows,
                                       const std::vector<bool>& right, std::string_view indent, std::size_t columns);

}  // namespace ckptfs
