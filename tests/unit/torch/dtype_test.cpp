// The dtype table of the pt layer against PyTorch's own.
#include "model/dtype.h"

#include <c10/core/ScalarType.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

namespace ckptfs::model {
namespace {

struct Pair {
    DType ours;
    c10::ScalarType theirs;
    const char* name;
};

constexpr std::array common {
    Pair{DType::uint8, c10::ScalarType::Byte, "uint8"}, Pair{DType::int8, c10::ScalarType::Char, "int8"},
        Pair{DType::int16, c10::ScalarType::Short, "int16"}, Pair{DType::int32, c10::ScalarType::Int, "int32"},
        Pair{DType::int64, c10::ScalarType::Long, "int64"}, Pair{DType::float16, c10::ScalarType::Half, "float16"},
        Pair{DType::float32, c10::ScalarType::Float, "float32"},
        Pair{DType::float64, c10::ScalarType::Double, "float64"},
        Pair{DType::complex_half, c10::ScalarType::ComplexHalf, "complex32"},
        Pair{DType::complex_float, c10::ScalarType::ComplexFloat, "complex64"},
        Pair{DType::complex_double, c10::ScalarType::ComplexDouble, "complex128"},
        Pair{DType::boolean, c10::ScalarType::Bool, "bool"},
        Pair{DType::bfloat16, c10::ScalarType::BFloat16, "bfloat16"},
#if CKPTFS_TEST_TORCH_MAJOR >= 2
        Pair{DType::float8_e5m2, c10::ScalarType::Float8_e5m2, "float8_e5m2"},
        Pair{DType::float8_e4m3fn, c10::ScalarType::Float8_e4m3fn, "float8_e4m3fn"},
        Pair{DType::uint16, c10::ScalarType::UInt16, "uint16"}, Pair{DType::uint32, c10::ScalarType::UInt32, "uint32"},
        Pair{DType::uint64, c10::ScalarType::UInt64, "uint64"},
#endif
};

TEST(DType, NumbersAreScalarTypes) {
    for (const Pair& pair : common) {
        EXPECT_EQ(static_cast<int>(pair.ours), static_cast<int>(pair.theirs)) << pair.name;
    }
}

TEST(DType, ItemSizesAreElementSizes) {
    for (const Pair& pair : common) {
        EXPECT_EQ(itemsize(pair.ours), c10::elementSize(pair.theirs)) << pair.name;
    }
}

TEST(DType, NamesAreThoseOfPython) {
    for (const Pair& pair : common) {
        EXPECT_EQ(name(pair.ours), pair.name);
    }
}

TEST(DType, StorageClassesAreNamedAfterTheScalarType) {
    for (const Pair& pair : common) {
        const std::string expected = std::string(c10::toString(pair.theirs)) + "Storage";
        if (dtype_of_storage_class(expected)) {
            EXPECT_EQ(dtype_of_storage_class(expected), pair.ours) << expected;
            EXPECT_EQ(storage_class(pair.ours), expected);
        }
    }
    EXPECT_EQ(dtype_of_storage_class("BFloat16Storage"), DType::bfloat16);
    EXPECT_EQ(dtype_of_storage_class("UntypedStorage"), DType::uint8);
}

}  // namespace
}  // namespace ckptfs::model
