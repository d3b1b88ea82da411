// Two conversions that were written apart agree, bit by bit.
#include "verify/plain_conversion.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <random>

#include "model/rounding.h"

namespace ckptfs::verify {
namespace plain_conversion {
namespace {

using model::DType;

template <class To, class From>
To converted(DType from, From value, DType to) {
    const auto in = std::bit_cast<std::array<std::byte, sizeof(From)>>(value);
    std::array<std::byte, sizeof(To)> out{};
    convert_plainly(from, in, to, out);
    return std::bit_cast<To>(out);
}

bool is_nan16(std::uint16_t code, std::uint16_t infinity) {
    return (code & 0x7fffU) > infinity;
}

void expect_rounded(std::uint32_t bits) {
    const auto half = converted<std::uint16_t>(DType::float32, bits, DType::float16);
    const auto brain = converted<std::uint16_t>(DType::float32, bits, DType::bfloat16);
    if (model::is_nan_float32(bits)) {
        EXPECT_TRUE(is_nan16(half, 0x7c00U) && is_nan16(brain, 0x7f80U));
        return;
    }
    EXPECT_EQ(half, model::float16_of_float32(bits)) << std::hex << bits;
    EXPECT_EQ(brain, model::bfloat16_of_float32(bits)) << std::hex << bits;
}

TEST(PlainConversion, RoundsAsTheBitPatternsDo) {
    for (std::uint32_t high = 0; high < 0x10000U; ++high) {
        for (const std::uint32_t low :
             {0x0000U, 0x0001U, 0x0fffU, 0x1000U, 0x1001U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
            expect_rounded(high << 16U | low);
        }
    }
    std::mt19937 generator(7);
    for (int count = 0; count < 200'000; ++count) {
        expect_rounded(static_cast<std::uint32_t>(generator()));
    }
}

TEST(PlainConversion, SixteenBitsComeBack) {
    for (std::uint32_t code = 0; code < 0x10000U; ++code) {
        const auto bits = static_cast<std::uint16_t>(code);
        for (const DType dtype : {DType::float16, DType::bfloat16}) {
            const auto wide = converted<std::uint32_t>(dtype, bits, DType::float32);
            if (model::is_nan_float32(wide)) {
                EXPECT_TRUE(is_nan(dtype, std::as_bytes(std::span(&bits, 1))));
            } else {
                EXPECT_EQ(converted<std::uint16_t>(DType::float32, wide, dtype), bits);
            }
        }
        const auto brain = converted<std::uint32_t>(DType::bfloat16, bits, DType::float32);
        EXPECT_TRUE(brain == code << 16U || model::is_nan_float32(brain));
    }
}

TEST(PlainConversion, DoublesGoByWayOfFloats) {
    // 1 + 2^-8 + 2^-40: above the middle of two bfloat16 values as a double, in the middle, and so even, as a float.
    EXPECT_EQ(converted<std::uint16_t>(DType::float64, 1.0 + 0x1p-8 + 0x1p-40, DType::bfloat16), 0x3f80U);
    EXPECT_EQ(converted<float>(DType::float64, 0.1, DType::float32), 0.1F);
}

TEST(PlainConversion, WholeNumbersAreRoundedOnce) {
    EXPECT_EQ(converted<float>(DType::int64, std::int64_t{-7}, DType::float32), -7.0F);
    EXPECT_EQ(converted<float>(DType::int64, (std::int64_t{1} << 24) + 3, DType::float32), 16777220.0F);
    // Above the middle of two floats by less than a double can tell.
    EXPECT_EQ(converted<float>(DType::int64, (std::int64_t{1} << 62) + (std::int64_t{1} << 38) + 1, DType::float32),
              0x1.000002p62F);
    EXPECT_EQ(converted<float>(DType::boolean, std::uint8_t{1}, DType::float32), 1.0F);
    EXPECT_EQ(converted<float>(DType::int8, std::int8_t{-128}, DType::float32), -128.0F);
    EXPECT_FALSE(is_plainly_convertible(DType::float32, DType::int64));
}

}  // namespace
}  // namespace plain_conversion
}  // namespace ckptfs::verify
