// CRC-32 as zip records carry it, also of bytes whose parts are seen at different times and places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ckptfs::pt {

/// Of `bytes` behind others whose CRC is `before`; 0 is that of none.
[[nodiscard]] std::uint32_t crc32_of(std::span<const std::byte> bytes, std::uint32_t before = 0);
[[nodiscard]] std::uint32_t crc32_of(std::string_view bytes);

/// Of bytes with the CRC `first` and `second_nbytes` bytes with the CRC `second` behind them. Costs the same however
/// many bytes there are.
[[nodiscard]] std::uint32_t crc32_combined(std::uint32_t first, std::uint32_t second, std::uint64_t second_nbytes);

/// Of as many zero bytes, without looking at any.
[[nodiscard]] std::uint32_t crc32_of_zeros(std::uint64_t nbytes);

}  // namespace ckptfs::pt
