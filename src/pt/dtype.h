// Element types of tensors: PyTorch's names for them and their sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ckptfs::pt {

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
    bfloat16 = 15,
    float8_e5m2 = 23,
    float8_e4m3fn = 24,
    uint16 = 27,
    uint32 = 28,
    uint64 = 29,
};

/// In bytes.
[[nodiscard]] std::uint64_t itemsize(DType dtype);
/// As in `torch.<name>`: "bfloat16".
[[nodiscard]] std::string_view name(DType dtype);
/// The class that torch.save names in a storage's persistent id: "BFloat16Storage". UntypedStorage counts as uint8.
[[nodiscard]] std::string_view storage_class(DType dtype);
[[nodiscard]] std::optional<DType> dtype_of_storage_class(std::string_view storage_class);

}  // namespace ckptfs::pt
