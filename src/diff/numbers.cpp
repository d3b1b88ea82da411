// One loop over the elements of a pair of types; equal bytes are seen before any is looked at.
#include "diff/numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "zero/scalar.h"

namespace ckptfs::diff {
namespace {

using model::DType;

template <class T>
T load(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

double of_bfloat16(const std::byte* at) {
    return std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(at)} << 16U);
}

double of_float32(const std::byte* at) {
    return load<float>(at);
}

double of_float64(const std::byte* at) {
    return load<double>(at);
}

/// NaN for what is no real number: is_number() tells which types have any.
template <DType dtype>
double of_other(const std::byte* at) {
    return zero::decode_number(dtype, {at, model::itemsize(dtype)}).value_or(std::nan(""));
}

/// As a number that a double holds; nullptr for types without real numbers.
using Decode = double (*)(const std::byte*);
Decode decoder(DType dtype) {
    switch (dtype) {
        case DType::float32:
            return of_float32;
        case DType::bfloat16:
            return of_bfloat16;
        case DType::float64:
            return of_float64;
        case DType::float16:
            return of_other<DType::float16>;
        case DType::uint8:
            return of_other<DType::uint8>;
        case DType::int8:
            return of_other<DType::int8>;
        case DType::int16:
            return of_other<DType::int16>;
        case DType::uint16:
            return of_other<DType::uint16>;
        case DType::int32:
            return of_other<DType::int32>;
        case DType::uint32:
            return of_other<DType::uint32>;
        case DType::int64:
            return of_other<DType::int64>;
        case DType::uint64:
            return of_other<DType::uint64>;
        case DType::boolean:
            return of_other<DType::boolean>;
        default:
            return nullptr;
    }
}

void add_difference(double a, double b, Deviation& out) {
    ++out.different;
    if (!std::isfinite(a) || !std::isfinite(b)) {
        ++out.not_finite;
        return;
    }
    const double absolute = std::fabs(a - b);
    const double larger = std::max(std::fabs(a), std::fabs(b));
    out.max_absolute = std::max(out.max_absolute, absolute);
    out.max_relative = std::max(out.max_relative, larger > 0 ? absolute / larger : 0);
}

template <Decode decode>
Deviation compare_floats(std::size_t itemsize, std::span<const std::byte> a, std::span<const std::byte> b) {
    Deviation result;
    for (std::size_t at = 0; at < a.size(); at += itemsize) {
        const double left = decode(a.data() + at);
        const double right = decode(b.data() + at);
        if (left != right && std::memcmp(a.data() + at, b.data() + at, itemsize) != 0) {
            add_difference(left, right, result);
        }
    }
    return result;
}

/// Of one type; `decode` may be nullptr. Whole numbers of 64 bits may differ and be the same double.
Deviation compare_bits(std::size_t itemsize, Decode decode, std::span<const std::byte> a,
                       std::span<const std::byte> b) {
    Deviation result;
    result.is_measured = decode != nullptr;
    for (std::size_t at = 0; at < a.size(); at += itemsize) {
        if (std::memcmp(a.data() + at, b.data() + at, itemsize) == 0) {
            continue;
        }
        if (decode == nullptr) {
            ++result.different;
        } else {
            add_difference(decode(a.data() + at), decode(b.data() + at), result);
        }
    }
    return result;
}

Deviation compare_types(DType dtype_a, std::span<const std::byte> a, DType dtype_b, std::span<const std::byte> b) {
    const std::size_t itemsize_a = model::itemsize(dtype_a);
    const std::size_t itemsize_b = model::itemsize(dtype_b);
    const Decode decode_a = decoder(dtype_a);
    const Decode decode_b = decoder(dtype_b);
    Deviation result;
    if (decode_a == nullptr || decode_b == nullptr) {
        result.is_measured = false;
        result.different = a.size() / itemsize_a;
        return result;
    }
    for (std::size_t index = 0; index < a.size() / itemsize_a; ++index) {
        const double left = decode_a(a.data() + index * itemsize_a);
        const double right = decode_b(b.data() + index * itemsize_b);
        if (left != right && !(std::isnan(left) && std::isnan(right))) {
            add_difference(left, right, result);
        }
    }
    return result;
}

}  // namespace

void Deviation::add(const Deviation& other) {
    different += other.different;
    not_finite += other.not_finite;
    max_absolute = std::max(max_absolute, other.max_absolute);
    max_relative = std::max(max_relative, other.max_relative);
    is_measured = is_measured && other.is_measured;
}

Deviation compare(DType dtype_a, std::span<const std::byte> a, DType dtype_b, std::span<const std::byte> b) {
    if (dtype_a != dtype_b) {
        return compare_types(dtype_a, a, dtype_b, b);
    }
    const std::size_t itemsize = model::itemsize(dtype_a);
    if (std::memcmp(a.data(), b.data(), a.size()) == 0) {
        Deviation equal;
        equal.is_measured = decoder(dtype_a) != nullptr;
        return equal;
    }
    switch (dtype_a) {
        case DType::float32:
            return compare_floats<of_float32>(itemsize, a, b);
        case DType::bfloat16:
            return compare_floats<of_bfloat16>(itemsize, a, b);
        case DType::float16:
            return compare_floats<of_other<DType::float16>>(itemsize, a, b);
        case DType::float64:
            return compare_floats<of_float64>(itemsize, a, b);
        default:
            return compare_bits(itemsize, decoder(dtype_a), a, b);
    }
}

}  // namespace ckptfs::diff
