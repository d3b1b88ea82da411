// Element types of tensors: PyTorch's names for them and their sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ckptfs::model {

/// Values are c10::ScalarType's, so that the torch module can cast.
enum class DType : std::int8_t {
    uint8 = 0,
    int8 = 1,
    int16 = 2,
    int32 = 3,
    int64 = 4,
    float16 = 5,
    float32 = 6,
    float64 = 7,
    complex_half = 8,
    complex_float = 9,
    complex_double = 10,
    boolean = 11,
    qint8 = 12,
    quint8 = 13,
    qint32 = 14,
    bfloat16 = 15,
    quint4x2 = 16,
    quint2x4 = 17,
    bits1x8 = 18,
    bits2x4 = 19,
    bits4x2 = 20,
    bits8 = 21,
    bits16 = 22,
    float8_e5m2 = 23,
    float8_e4m3fn = 24,
    float8_e5m2fnuz = 25,
    float8_e4m3fnuz = 26,
    uint16 = 27,
    uint32 = 28,
    uint64 = 29,
    float8_e8m0fnu = 44,
    float4_e2m1fn_x2 = 45,
};

/// In bytes.
[[nodiscard]] std::uint64_t itemsize(DType dtype);
/// As in `torch.<name>`: "bfloat16".
[[nodiscard]] std::string_view name(DType dtype);
/// The class that torch.save names in a storage's persistent id: "BFloat16Storage"; "UntypedStorage", counted in bytes,
/// for the types that have none of their own.
[[nodiscard]] std::string_view storage_class(DType dtype);
/// UntypedStorage counts as uint8.
[[nodiscard]] std::optional<DType> dtype_of_storage_class(std::string_view storage_class);
/// The type called `torch.<name>`.
[[nodiscard]] std::optional<DType> dtype_of_name(std::string_view name);

}  // namespace ckptfs::model
