// The rounding of the pt layer against PyTorch's own, wherever it could go the other way.
#include "model/rounding.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace ckptfs::model {
namespace {

/// `visit` gets the values around `middle`, which lies halfway between two neighbours, and the same below zero.
template <class Visit>
void around(float middle, const Visit& visit) {
    for (const float value : {std::nextafter(middle, 0.0F), middle, std::nextafter(middle, INFINITY)}) {
        visit(value);
        visit(-value);
    }
}

template <class Sixteen, class Ours>
void compare_at_every_boundary(const Ours& ours) {
    std::uint32_t compared = 0;
    for (std::uint32_t bits = 0; bits < 0x7fffU; ++bits) {
        const auto low = static_cast<float>(Sixteen(static_cast<std::uint16_t>(bits), Sixteen::from_bits()));
        const auto high = static_cast<float>(Sixteen(static_cast<std::uint16_t>(bits + 1), Sixteen::from_bits()));
        if (std::isnan(low) || !std::isfinite(high)) {
            continue;
        }
        const auto check = [&](float value) {
            ++compared;
            ASSERT_EQ(ours(std::bit_cast<std::uint32_t>(value)), Sixteen(value).x) << std::hexfloat << value;
        };
        around(low / 2 + high / 2, check);
        around(low, check);
    }
    EXPECT_GT(compared, 12U * 31'000U);
}

TEST(Rounding, ToHalfIsThatOfPyTorchAtEveryBoundary) {
    compare_at_every_boundary<c10::Half>([](std::uint32_t bits) { return float16_of_float32(bits); });
}

TEST(Rounding, ToBFloat16IsThatOfPyTorchAtEveryBoundary) {
    compare_at_every_boundary<c10::BFloat16>([](std::uint32_t bits) { return bfloat16_of_float32(bits); });
}

TEST(Rounding, OverflowsWherePyTorchDoes) {
    for (const float value : {65503.996F, 65504.0F, 65519.996F, 65520.0F, 65536.0F, 1e30F, 3.3895e38F, 3.4e38F}) {
        const auto bits = std::bit_cast<std::uint32_t>(value);
        EXPECT_EQ(float16_of_float32(bits), c10::Half(value).x) << value;
        EXPECT_EQ(bfloat16_of_float32(bits), c10::BFloat16(value).x) << value;
    }
}

}  // namespace
}  // namespace ckptfs::model
