// Elements compared by value.
#include "diff/numbers.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace ckptfs::diff {
namespace {

using model::DType;

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(Numbers, TheLargestDeviationsAreFound) {
    const Deviation found = compare(DType::float32, bytes_of<float>({1, 2, 0, -4, 5}), DType::float32,
                                    bytes_of<float>({1, 2.5, 1e-9F, -5, 5}));
    EXPECT_EQ(found.different, 3U);
    EXPECT_EQ(found.not_finite, 0U);
    EXPECT_EQ(found.max_absolute, 1);
    EXPECT_EQ(found.max_relative, 1) << "of an element that is zero on one side";
    EXPECT_TRUE(found.is_measured);
}

TEST(Numbers, EqualBitsAreEqualAndSoAreTheTwoZeros) {
    std::vector<float> values{nan, infinity, 0.0F, 1};
    const auto one = bytes_of(values);
    EXPECT_EQ(compare(DType::float32, one, DType::float32, one).different, 0U);
    values[2] = -0.0F;
    EXPECT_EQ(compare(DType::float32, one, DType::float32, bytes_of(values)).different, 0U);
    values[3] = nan;
    const Deviation found = compare(DType::float32, one, DType::float32, bytes_of(values));
    EXPECT_EQ(found.different, 1U) << "the NaN that both have is none";
    EXPECT_EQ(found.not_finite, 1U);
    EXPECT_EQ(found.max_absolute, 0);
}

TEST(Numbers, NaNsOfOtherBitsDiffer) {
    const auto one = bytes_of<std::uint32_t>({0x7fc00000U});
    const auto other = bytes_of<std::uint32_t>({0x7fc00001U});
    EXPECT_EQ(compare(DType::float32, one, DType::float32, other).different, 1U);
    EXPECT_EQ(compare(DType::bfloat16, bytes_of<std::uint16_t>({0x7fc0U}), DType::bfloat16,
                      bytes_of<std::uint16_t>({0x7fc1U}))
                  .not_finite,
              1U);
}

TEST(Numbers, SixteenBitsAreComparedByValue) {
    // 1.0 and 1.0078125; 2^-24 and zero; in bfloat16 and float16.
    Deviation found = compare(DType::bfloat16, bytes_of<std::uint16_t>({0x3f80U, 0x3f80U}), DType::bfloat16,
                              bytes_of<std::uint16_t>({0x3f80U, 0x3f81U}));
    EXPECT_EQ(found.different, 1U);
    EXPECT_EQ(found.max_absolute, 0.0078125);
    found = compare(DType::float16, bytes_of<std::uint16_t>({0x0001U, 0x8000U}), DType::float16,
                    bytes_of<std::uint16_t>({0x0000U, 0x0000U}));
    EXPECT_EQ(found.different, 1U) << "minus zero is zero";
    EXPECT_EQ(found.max_absolute, std::ldexp(1, -24));
}

TEST(Numbers, TypesAreComparedWithEachOther) {
    const Deviation found = compare(DType::float32, bytes_of<float>({1, 1.001F, nan}), DType::bfloat16,
                                    bytes_of<std::uint16_t>({0x3f80U, 0x3f80U, 0x7fc0U}));
    EXPECT_EQ(found.different, 1U);
    EXPECT_NEAR(found.max_absolute, 0.001, 1e-7);
}

TEST(Numbers, WholeNumbersThatOneDoubleHoldsDiffer) {
    const std::int64_t large = std::int64_t{1} << 60;
    const Deviation found =
        compare(DType::int64, bytes_of<std::int64_t>({large, 7}), DType::int64, bytes_of<std::int64_t>({large + 1, 4}));
    EXPECT_EQ(found.different, 2U);
    EXPECT_EQ(found.max_absolute, 3);
}

TEST(Numbers, WholeNumbersOfTwoTypesAreComparedExactly) {
    const std::int64_t large = (std::int64_t{1} << 53) + 1;
    Deviation found = compare(DType::int64, bytes_of<std::int64_t>({large, -1, 5, 7}), DType::uint64,
                              bytes_of<std::uint64_t>({std::uint64_t{1} << 53, ~std::uint64_t{0}, 5, 4}));
    EXPECT_EQ(found.different, 3U);
    EXPECT_EQ(found.not_finite, 0U);
    EXPECT_EQ(found.max_absolute, 0x1p64);
    found = compare(DType::int64, bytes_of<std::int64_t>({large}), DType::int64, bytes_of<std::int64_t>({large - 1}));
    EXPECT_EQ(found.max_absolute, 1) << "though one double is nearest to both";
    found = compare(DType::int8, bytes_of<std::int8_t>({-3, 2}), DType::int32, bytes_of<std::int32_t>({-3, 2}));
    EXPECT_EQ(found.different, 0U);
}

TEST(Numbers, WholeNumbersOfEveryTypeAreMeasured) {
    for (const DType dtype : {DType::boolean, DType::uint8, DType::int8}) {
        const Deviation found = compare(dtype, bytes_of<std::uint8_t>({1, 1}), dtype, bytes_of<std::uint8_t>({1, 0}));
        EXPECT_EQ(found.different, 1U);
        EXPECT_EQ(found.not_finite, 0U) << model::name(dtype);
        EXPECT_EQ(found.max_absolute, 1);
    }
    for (const DType dtype : {DType::uint16, DType::uint32, DType::uint64}) {
        std::vector<std::byte> one(model::itemsize(dtype));
        one[0] = std::byte{3};
        EXPECT_EQ(compare(dtype, one, DType::float32, bytes_of<float>({3})).different, 0U) << model::name(dtype);
    }
}

TEST(Numbers, WhatADoubleCannotHoldIsInfinite) {
    const double largest = std::numeric_limits<double>::max();
    const Deviation found =
        compare(DType::float64, bytes_of<double>({largest}), DType::float64, bytes_of<double>({-largest}));
    EXPECT_EQ(found.not_finite, 0U);
    EXPECT_TRUE(std::isinf(found.max_absolute));
    EXPECT_EQ(found.max_relative, 2);
}

TEST(Numbers, WhatIsNoRealNumberIsCountedAlone) {
    const auto one = bytes_of<float>({1, 2, 3, 4});
    const auto other = bytes_of<float>({1, 2, 3, 5});
    const Deviation found = compare(DType::complex_float, one, DType::complex_float, other);
    EXPECT_EQ(found.different, 1U);
    EXPECT_FALSE(found.is_measured);
    EXPECT_EQ(compare(DType::complex_float, one, DType::complex_float, one).different, 0U);
}

TEST(Numbers, DeviationsAddUp) {
    Deviation sum;
    sum.add({2, 1, 0.5, 0.25, true});
    sum.add({3, 0, 0.25, 0.75, true});
    EXPECT_EQ(sum.different, 5U);
    EXPECT_EQ(sum.not_finite, 1U);
    EXPECT_EQ(sum.max_absolute, 0.5);
    EXPECT_EQ(sum.max_relative, 0.75);
}

}  // namespace
}  // namespace ckptfs::diff
