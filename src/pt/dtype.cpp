// One table of element types; every question about them is a look into it.
#include "pt/dtype.h"

#include <algorithm>
#include <array>

namespace ckptfs::pt {
namespace {

struct Entry {
    DType dtype;
    std::uint64_t itemsize;
    std::string_view name;
    std::string_view storage_class;
};

/// torch.save has no storage class for newer types: it writes an untyped storage, counted in bytes, and the type beside
/// it.
constexpr std::string_view untyped = "UntypedStorage";

constexpr std::array entries = {
    Entry{DType::uint8, 1, "uint8", "ByteStorage"},
    Entry{DType::int8, 1, "int8", "CharStorage"},
    Entry{DType::int16, 2, "int16", "ShortStorage"},
    Entry{DType::int32, 4, "int32", "IntStorage"},
    Entry{DType::int64, 8, "int64", "LongStorage"},
    Entry{DType::float16, 2, "float16", "HalfStorage"},
    Entry{DType::float32, 4, "float32", "FloatStorage"},
    Entry{DType::float64, 8, "float64", "DoubleStorage"},
    Entry{DType::complex_half, 4, "complex32", untyped},
    Entry{DType::complex_float, 8, "complex64", "ComplexFloatStorage"},
    Entry{DType::complex_double, 16, "complex128", "ComplexDoubleStorage"},
    Entry{DType::boolean, 1, "bool", "BoolStorage"},
    Entry{DType::qint8, 1, "qint8", "QInt8Storage"},
    Entry{DType::quint8, 1, "quint8", "QUInt8Storage"},
    Entry{DType::qint32, 4, "qint32", "QInt32Storage"},
    Entry{DType::bfloat16, 2, "bfloat16", "BFloat16Storage"},
    Entry{DType::quint4x2, 1, "quint4x2", "QUInt4x2Storage"},
    Entry{DType::quint2x4, 1, "quint2x4", "QUInt2x4Storage"},
    Entry{DType::bits1x8, 1, "bits1x8", untyped},
    Entry{DType::bits2x4, 1, "bits2x4", untyped},
    Entry{DType::bits4x2, 1, "bits4x2", untyped},
    Entry{DType::bits8, 1, "bits8", untyped},
    Entry{DType::bits16, 2, "bits16", untyped},
    Entry{DType::float8_e5m2, 1, "float8_e5m2", untyped},
    Entry{DType::float8_e4m3fn, 1, "float8_e4m3fn", untyped},
    Entry{DType::float8_e5m2fnuz, 1, "float8_e5m2fnuz", untyped},
    Entry{DType::float8_e4m3fnuz, 1, "float8_e4m3fnuz", untyped},
    Entry{DType::uint16, 2, "uint16", untyped},
    Entry{DType::uint32, 4, "uint32", untyped},
    Entry{DType::uint64, 8, "uint64", untyped},
    Entry{DType::float8_e8m0fnu, 1, "float8_e8m0fnu", untyped},
    Entry{DType::float4_e2m1fn_x2, 1, "float4_e2m1fn_x2", untyped},
};

/// Every DType has its entry; a value cast from elsewhere answers as uint8.
const Entry& entry(DType dtype) {
    const auto* const found =
        std::find_if(entries.begin(), entries.end(), [&](const Entry& candidate) { return candidate.dtype == dtype; });
    return found == entries.end() ? entries.front() : *found;
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
    const auto* const found = std::find_if(entries.begin(), entries.end(), [&](const Entry& candidate) {
        return candidate.storage_class == storage_class;
    });
    return found == entries.end() ? std::nullopt : std::optional(found->dtype);
}

std::optional<DType> dtype_of_name(std::string_view name) {
    const auto* const found =
        std::find_if(entries.begin(), entries.end(), [&](const Entry& candidate) { return candidate.name == name; });
    return found == entries.end() ? std::nullopt : std::optional(found->dtype);
}

}  // namespace ckptfs::pt
