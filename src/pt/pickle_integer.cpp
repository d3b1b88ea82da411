// Two's complement of any length, for LONG1 and LONG4.
#include "pt/pickle_integer.h"

namespace ckptfs::pickle {

namespace {

constexpr unsigned char sign_bit = 0x80;

bool is_negative(std::string_view digits) {
    return !digits.empty() && (static_cast<unsigned char>(digits.back()) & sign_bit) != 0;
}

}  // namespace

std::string encode_long(std::int64_t value) {
    std::string digits;
    const auto bits = static_cast<std::uint64_t>(value);
    for (unsigned shift = 0; shift < 64; shift += 8) {
        digits.push_back(static_cast<char>(bits >> shift & 0xffU));
    }
    return std::string(shortest_long(digits));
}

std::string_view shortest_long(std::string_view digits) {
    while (!digits.empty()) {
        const std::string_view shorter = digits.substr(0, digits.size() - 1);
        const bool negative = is_negative(digits);
        if (static_cast<unsigned char>(digits.back()) != (negative ? 0xffU : 0U) || is_negative(shorter) != negative) {
            return digits;
        }
        digits = shorter;
    }
    return digits;
}

std::int64_t decode_long(std::string_view digits) {
    std::uint64_t bits = is_negative(digits) ? ~std::uint64_t{0} : 0;
    for (std::size_t i = digits.size(); i-- > 0;) {
        bits = bits << 8U | static_cast<unsigned char>(digits[i]);
    }
    return static_cast<std::int64_t>(bits);
}

}  // namespace ckptfs::pickle
