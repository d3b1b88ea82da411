// Rounding against values that PyTorch made: `tensor.to(torch.bfloat16)` and `tensor.to(torch.float16)`.
#include "model/rounding.h"

#include <gtest/gtest.h>

#include <array>

namespace ckptfs::model {
namespace rounding {
namespace {

struct Golden {
    std::uint32_t float32;
    std::uint16_t bfloat16;
    std::uint16_t float16;
};

// Zeros, ties, both sides of ties, infinities, the ends of the range, subnormal values of all three types.
constexpr std::array golden{
    Golden{0x00000000U, 0x0000U, 0x0000U}, Golden{0x80000000U, 0x8000U, 0x8000U}, Golden{0x3f800000U, 0x3f80U, 0x3c00U},
    Golden{0xbf800000U, 0xbf80U, 0xbc00U}, Golden{0x3f808000U, 0x3f80U, 0x3c04U}, Golden{0x3f818000U, 0x3f82U, 0x3c0cU},
    Golden{0x3f80ffffU, 0x3f81U, 0x3c08U}, Golden{0x3f807fffU, 0x3f80U, 0x3c04U}, Golden{0x3f801000U, 0x3f80U, 0x3c00U},
    Golden{0x3f803000U, 0x3f80U, 0x3c02U}, Golden{0x3f801001U, 0x3f80U, 0x3c01U}, Golden{0x3f802fffU, 0x3f80U, 0x3c01U},
    Golden{0x7f800000U, 0x7f80U, 0x7c00U}, Golden{0xff800000U, 0xff80U, 0xfc00U}, Golden{0x7f7fffffU, 0x7f80U, 0x7c00U},
    Golden{0x477fe000U, 0x4780U, 0x7bffU}, Golden{0x477fefffU, 0x4780U, 0x7bffU}, Golden{0x477ff000U, 0x4780U, 0x7c00U},
    Golden{0xc77ff000U, 0xc780U, 0xfc00U}, Golden{0x47800000U, 0x4780U, 0x7c00U}, Golden{0x38800000U, 0x3880U, 0x0400U},
    Golden{0x387fffffU, 0x3880U, 0x0400U}, Golden{0x38000000U, 0x3800U, 0x0200U}, Golden{0x33800000U, 0x3380U, 0x0001U},
    Golden{0x33000000U, 0x3300U, 0x0000U}, Golden{0x33000001U, 0x3300U, 0x0001U}, Golden{0xb3000001U, 0xb300U, 0x8001U},
    Golden{0x33c00000U, 0x33c0U, 0x0002U}, Golden{0x33bfffffU, 0x33c0U, 0x0001U}, Golden{0x34200000U, 0x3420U, 0x0002U},
    Golden{0x00000001U, 0x0000U, 0x0000U}, Golden{0x807fffffU, 0x8080U, 0x8000U}, Golden{0x00008000U, 0x0000U, 0x0000U},
    Golden{0x00018000U, 0x0002U, 0x0000U}, Golden{0x0000ffffU, 0x0001U, 0x0000U}, Golden{0x40490fdbU, 0x4049U, 0x4248U},
    Golden{0x3dcccccdU, 0x3dcdU, 0x2e66U}, Golden{0xc2f6e979U, 0xc2f7U, 0xd7b7U}, Golden{0x2edbe6ffU, 0x2edcU, 0x0000U},
};

TEST(Rounding, GivesWhatPyTorchGives) {
    for (const Golden& values : golden) {
        EXPECT_EQ(bfloat16_of_float32(values.float32), values.bfloat16) << std::hex << values.float32;
        EXPECT_EQ(float16_of_float32(values.float32), values.float16) << std::hex << values.float32;
    }
}

TEST(Rounding, KeepsNotANumber) {
    for (const std::uint32_t bits : {0x7f800001U, 0x7fc00000U, 0xff800001U, 0xffffffffU}) {
        ASSERT_TRUE(is_nan_float32(bits));
        EXPECT_GT(bfloat16_of_float32(bits) & 0x7fffU, 0x7f80U) << std::hex << bits;
        EXPECT_GT(float16_of_float32(bits) & 0x7fffU, 0x7c00U) << std::hex << bits;
    }
    EXPECT_FALSE(is_nan_float32(0x7f800000U));
}

}  // namespace
}  // namespace rounding
}  // namespace ckptfs::model
