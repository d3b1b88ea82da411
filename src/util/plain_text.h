// Text from outside, made fit for a document: HTML, SVG, JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ckptfs {

/// `text` as UTF-8 in one line: what is no UTF-8, control characters, and those that turn the direction of writing or
/// that XML forbids, are written out (\x1b, \u{202e}). Of more than `most` characters those in the middle are left out.
[[nodiscard]] std::string plain_text(std::string_view text, std::size_t most = 300);

/// For the text and the attributes of HTML and XML: & < > " and ' as entities.
[[nodiscard]] std::string markup(std::string_view text);

/// JSON that can stand in a <script> element: no "</script>", no "<!--".
[[nodiscard]] std::string json_in_markup(std::string_view json);

}  // namespace ckptfs
