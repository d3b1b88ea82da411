// From fp32 to 16 bits as `tensor.to(dtype)` does it: to the nearest, ties to even. On bit patterns, so that no
// compiler flag or rounding mode has a say.
#pragma once

#include <cstdint>

namespace ckptfs::model {

[[nodiscard]] constexpr bool is_nan_float32(std::uint32_t bits) {
    return (bits & 0x7fffffffU) > 0x7f800000U;
}

/// A NaN becomes a NaN, whatever its other bits.
[[nodiscard]] constexpr std::uint16_t bfloat16_of_float32(std::uint32_t bits) {
    if (is_nan_float32(bits)) {
        return 0x7fc0U;
    }
    const std::uint32_t even = (bits >> 16U) & 1U;
    return static_cast<std::uint16_t>((bits + 0x7fffU + even) >> 16U);
}

/// The same; what is at least 65,520 becomes infinite.
[[nodiscard]] constexpr std::uint16_t float16_of_float32(std::uint32_t bits) {
    constexpr std::uint32_t least_infinite = 0x477ff000U;  // 65,520: halfway from the largest finite value to the next
    constexpr std::uint32_t least_normal = 0x38800000U;    // 2^-14
    constexpr std::uint32_t largest_zero = 0x33000000U;    // 2^-25: half of the least subnormal value
    const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    const auto signed_of = [sign](std::uint32_t value) { return static_cast<std::uint16_t>(sign | value); };
    if (is_nan_float32(bits)) {
        return signed_of(0x7e00U);
    }
    if (magnitude >= least_infinite) {
        return signed_of(0x7c00U);
    }
    if (magnitude >= least_normal) {
        const std::uint32_t rebiased = magnitude - (std::uint32_t{127 - 15} << 23U);
        return signed_of((rebiased + 0xfffU + ((rebiased >> 13U) & 1U)) >> 13U);
    }
    if (magnitude <= largest_zero) {
        return sign;
    }
    // Subnormal: a multiple of 2^-24.
    const std::uint32_t significand = (magnitude & 0x7fffffU) | 0x800000U;
    const std::uint32_t shift = 126U - (magnitude >> 23U);
    const std::uint32_t quotient = significand >> shift;
    const std::uint32_t remainder = significand & ((1U << shift) - 1U);
    const std::uint32_t half = 1U << (shift - 1U);
    const bool up = remainder > half || (remainder == half && (quotient & 1U) != 0);
    return signed_of(quotient + (up ? 1U : 0U));
}

}  // namespace ckptfs::model
