// libdeflate computes checksums; joining them is arithmetic on polynomials over GF(2), modulo that of CRC-32.
#include "pt/crc32.h"

#include <libdeflate.h>

#include <array>
#include <limits>

namespace ckptfs::pt {
namespace {

constexpr std::uint32_t crc32_polynomial = 0xEDB88320;  // without x^32; bit 31 stands for x^0, as in the register
constexpr std::uint32_t one = std::uint32_t{1} << 31U;
constexpr std::uint32_t initial_register = std::numeric_limits<std::uint32_t>::max();

constexpr std::uint32_t times_x(std::uint32_t a) {
    return (a & 1U) != 0 ? (a >> 1U) ^ crc32_polynomial : a >> 1U;
}

constexpr std::uint32_t product(std::uint32_t a, std::uint32_t b) {
    std::uint32_t sum = 0;
    for (std::uint32_t power = one; power != 0; power >>= 1U) {
        if ((a & power) != 0) {
            sum ^= b;
        }
        b = times_x(b);
    }
    return sum;
}

/// x^(2^i). The exponents of x repeat after 2^32 - 1, so that x^(2^32) is x again.
constexpr std::array<std::uint32_t, 32> squares = [] {
    std::array<std::uint32_t, 32> table{};
    std::uint32_t power = times_x(one);
    for (std::uint32_t& entry : table) {
        entry = power;
        power = product(power, power);
    }
    return table;
}();

/// What `nbytes` more bytes multiply a register by: x^(8 nbytes).
std::uint32_t shift_of(std::uint64_t nbytes) {
    std::uint32_t result = one;
    for (std::size_t i = 3; nbytes != 0; ++i, nbytes >>= 1U) {
        if ((nbytes & 1U) != 0) {
            result = product(squares.at(i % squares.size()), result);
        }
    }
    return result;
}

}  // namespace

std::uint32_t crc32_of(std::span<const std::byte> bytes, std::uint32_t before) {
    // A null pointer, which an empty span may have, asks libdeflate for the CRC of nothing.
    return bytes.empty() ? before : ::libdeflate_crc32(before, bytes.data(), bytes.size());
}

std::uint32_t crc32_of(std::string_view bytes) {
    return crc32_of(std::as_bytes(std::span(bytes)));
}

std::uint32_t crc32_combined(std::uint32_t first, std::uint32_t second, std::uint64_t second_nbytes) {
    return product(shift_of(second_nbytes), first) ^ second;
}

std::uint32_t crc32_of_zeros(std::uint64_t nbytes) {
    return product(shift_of(nbytes), initial_register) ^ initial_register;
}

}  // namespace ckptfs::pt
