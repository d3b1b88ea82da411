// One table of element types; every question about them is a look into it.
#include "model/dtype.h"

#include <algorithm>
#include <array>

namespace ckptfs::model {
namespace {

struct DTypeEntry {
    DType dtype;
    std::uint64_t itemsize;
    std::string_view name;
    std::string_view storage_class;
};

/// torch.save has no storage class for newer types: it writes an untyped storage, counted in bytes, and the type beside
/// it.
constexpr std::string_view untyped = "UntypedStorage";

constexpr std::array dtype_entries = {
    DTypeEntry{DType::uint8, 1, "uint8", "ByteStorage"},
    DTypeEntry{DType::int8, 1, "int8", "CharStorage"},
    DTypeEntry{DType::int16, 2, "int16", "ShortStorage"},
    DTypeEntry{DType::int32, 4, "int32", "IntStorage"},
    DTypeEntry{DType::int64, 8, "int64", "LongStorage"},
    DTypeEntry{DType::float16, 2, "float16", "HalfStorage"},
    DTypeEntry{DType::float32, 4, "float32", "FloatStorage"},
    DTypeEntry{DType::float64, 8, "float64", "DoubleStorage"},
    DTypeEntry{DType::complex_half, 4, "complex32", untyped},
    DTypeEntry{DType::complex_float, 8, "complex64", "ComplexFloatStorage"},
    DTypeEntry{DType::complex_double, 16, "complex128", "ComplexDoubleStorage"},
    DTypeEntry{DType::boolean, 1, "bool", "BoolStorage"},
    DTypeEntry{DType::qint8, 1, "qint8", "QInt8Storage"},
    DTypeEntry{DType::quint8, 1, "quint8", "QUInt8Storage"},
    DTypeEntry{DType::qint32, 4, "qint32", "QInt32Storage"},
    DTypeEntry{DType::bfloat16, 2, "bfloat16", "BFloat16Storage"},
    DTypeEntry{DType::quint4x2, 1, "quint4x2", "QUInt4x2Storage"},
    DTypeEntry{DType::quint2x4, 1, "quint2x4", "QUInt2x4Storage"},
    DTypeEntry{DType::bits1x8, 1, "bits1x8", untyped},
    DTypeEntry{DType::bits2x4, 1, "bits2x4", untyped},
    DTypeEntry{DType::bits4x2, 1, "bits4x2", untyped},
    DTypeEntry{DType::bits8, 1, "bits8", untyped},
    DTypeEntry{DType::bits16, 2, "bits16", untyped},
    DTypeEntry{DType::float8_e5m2, 1, "float8_e5m2", untyped},
    DTypeEntry{DType::float8_e4m3fn, 1, "float8_e4m3fn", untyped},
    DTypeEntry{DType::float8_e5m2fnuz, 1, "float8_e5m2fnuz", untyped},
    DTypeEntry{DType::float8_e4m3fnuz, 1, "float8_e4m3fnuz", untyped},
    DTypeEntry{DType::uint16, 2, "uint16", untyped},
    DTypeEntry{DType::uint32, 4, "uint32", untyped},
    DTypeEntry{DType::uint64, 8, "uint64", untyped},
    DTypeEntry{DType::float8_e8m0fnu, 1, "float8_e8m0fnu", untyped},
    DTypeEntry{DType::float4_e2m1fn_x2, 1, "float4_e2m1fn_x2", untyped},
};

/// Every DType has its entry; a value cast from elsewhere answers as uint8.
const DTypeEntry& entry(DType dtype) {
    const auto* const found = std::find_if(dtype_entries.begin(), dtype_entries.end(),
                                           [&](const DTypeEntry& candidate) { return candidate.dtype == dtype; });
    return found == dtype_entries.end() ? dtype_entries.front() : *found;
}

}  // namespace

std::uint64_t itemsize(DType dtype) {
    return entry(dtype).itemsize;
}
std::string_view name(DType dtype) {
    return entry(dtype).name;
}
std::string_view storage_class(DType dtype) {
    return entry(dtype).storage_class;
}

std::optional<DType> dtype_of_storage_class(std::string_view storage_class) {
    if (storage_class == untyped) {
        return DType::uint8;
    }
    const auto* const found =
        std::find_if(dtype_entries.begin(), dtype_entries.end(),
                     [&](const DTypeEntry& candidate) { return candidate.storage_class == storage_class; });
    return found == dtype_entries.end() ? std::nullopt : std::optional(found->dtype);
}

std::optional<DType> dtype_of_name(std::string_view name) {
    const auto* const found = std::find_if(dtype_entries.begin(), dtype_entries.end(),
                                           [&](const DTypeEntry& candidate) { return candidate.name == name; });
    return found == dtype_entries.end() ? std::nullopt : std::optional(found->dtype);
}

}  // namespace ckptfs::model
