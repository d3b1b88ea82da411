// Python's integers as LONG1 and LONG4 hold them: little-endian two's complement, as short as can be, nothing for 0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ckptfs::pickle {

/// pickle.encode_long
[[nodiscard]] std::string encode_long(std::int64_t value);

/// Without the bytes that only repeat the sign.
[[nodiscard]] std::string_view shortest_long(std::string_view digits);

/// pickle.decode_long, of at most 8 bytes.
[[nodiscard]] std::int64_t decode_long(std::string_view digits);

}  // namespace ckptfs::pickle
