// The table of element types against PyTorch's names.
#include "model/dtype.h"

#include <gtest/gtest.h>

namespace ckptfs::model {
namespace {

TEST(DType, KnowsPyTorchsStorageClasses) {
    EXPECT_EQ(dtype_of_storage_class("BFloat16Storage"), DType::bfloat16);
    EXPECT_EQ(dtype_of_storage_class("LongStorage"), DType::int64);
    EXPECT_EQ(dtype_of_storage_class("UntypedStorage"), DType::uint8);
    EXPECT_EQ(dtype_of_storage_class("bfloat16"), std::nullopt);
    EXPECT_EQ(dtype_of_storage_class(""), std::nullopt);
    EXPECT_EQ(storage_class(DType::float32), "FloatStorage");
    EXPECT_EQ(storage_class(DType::float8_e4m3fn), "UntypedStorage");
}

TEST(DType, NamesAndSizesComeBack) {
    for (int value = 0; value < 64; ++value) {
        const auto dtype = static_cast<DType>(value);
        if (dtype_of_name(name(dtype)) != dtype) {
            continue;  // no such type
        }
        EXPECT_GE(itemsize(dtype), 1U);
        EXPECT_LE(itemsize(dtype), 16U);
        if (storage_class(dtype) != "UntypedStorage") {
            EXPECT_EQ(dtype_of_storage_class(storage_class(dtype)), dtype);
        }
    }
    EXPECT_EQ(dtype_of_name("complex128"), DType::complex_double);
    EXPECT_EQ(itemsize(DType::complex_double), 16U);
    EXPECT_EQ(dtype_of_name("float7"), std::nullopt);
}

}  // namespace
}  // namespace ckptfs::model
