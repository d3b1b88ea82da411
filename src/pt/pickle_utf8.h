// Whether bytes are what Python's UTF-8 decoder takes with errors="surrogatepass".
#pragma once

#include <string_view>

namespace ckptfs::pickle {

/// Well-formed by Table 3-7 of the Unicode standard, except that surrogates (ED A0..BF) are allowed.
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace ckptfs::pickle
