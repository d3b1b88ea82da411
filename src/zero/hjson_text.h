// The rules of Python's text that hjson-py leans on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ckptfs::zero {

/// hjson-py's WHITESPACE.
[[nodiscard]] inline bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// A carriage return, with or without a line feed, as one line feed: what Python's text mode reads.
[[nodiscard]] std::string with_unix_line_ends(std::string_view text);

/// Of well-formed UTF-8.
[[nodiscard]] std::size_t code_points(std::string_view text);
void append_utf8(std::string& text, std::uint32_t code_point);

/// str.strip(), or str.rstrip() where the front is to stay: Unicode's white space goes too.
[[nodiscard]] std::string_view stripped(std::string_view text, bool front = true);

/// hjson-py's NUMBER_RE, over all of the text: a JSON number, then blanks and tabs.
[[nodiscard]] bool is_number(std::string_view text);

/// How many code points mlscanstring takes for the indentation of a ''' at `position`: its column. On the first line it
/// counts on from the end of the text, back to the last line feed (a negative index of Python's).
[[nodiscard]] std::size_t indentation(std::string_view text, std::size_t position);

}  // namespace ckptfs::zero
