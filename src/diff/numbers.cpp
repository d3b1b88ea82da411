// One loop over the elements of a pair of types; equal bytes are seen before any is looked at.
#include "diff/numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

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

double of_float16(const std::byte* at) {
    return zero::decode_number(DType::float16, {at, model::itemsize(DType::float16)}).value_or(std::nan(""));
}

/// A whole number of up to 64 bits, of either sign, which a double may not hold: equal ones have equal members.
struct Whole {
    bool is_negative = false;
    std::uint64_t bits = 0;  ///< two's complement

    bool operator==(const Whole&) const = default;
};

template <class T>
Whole whole(const std::byte* at) {
    const T value = load<T>(at);
    return {std::cmp_less(value, 0), static_cast<std::uint64_t>(value)};
}

double as_double(const Whole& number) {
    return number.is_negative ? static_cast<double>(static_cast<std::int64_t>(number.bits))
                              : static_cast<double>(number.bits);
}

template <class T>
double of_whole(const std::byte* at) {
    return as_double(whole<T>(at));
}

/// How elements of a type are read.
struct Decoder {
    double (*real)(const std::byte*) = nullptr;  ///< as a double; absent for types without real numbers
    Whole (*whole)(const std::byte*) = nullptr;  ///< of types of whole numbers alone
};

template <class T>
constexpr Decoder whole_decoder() {
    return {of_whole<T>, whole<T>};
}

Decoder decoder(DType dtype) {
    switch (dtype) {
        case DType::float32:
            return {of_float32, nullptr};
        case DType::bfloat16:
            return {of_bfloat16, nullptr};
        case DType::float64:
            return {of_float64, nullptr};
        case DType::float16:
            return {of_float16, nullptr};
        case DType::boolean:
        case DType::uint8:
            return whole_decoder<std::uint8_t>();
        case DType::int8:
            return whole_decoder<std::int8_t>();
        case DType::int16:
            return whole_decoder<std::int16_t>();
        case DType::uint16:
            return whole_decoder<std::uint16_t>();
        case DType::int32:
            return whole_decoder<std::int32_t>();
        case DType::uint32:
            return whole_decoder<std::uint32_t>();
        case DType::int64:
            return whole_decoder<std::int64_t>();
        case DType::uint64:
            return whole_decoder<std::uint64_t>();
        default:
            return {};
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
    // Of numbers too far apart for a double, the quotients are not.
    const double relative = std::isinf(absolute) ? std::fabs(a / larger - b / larger) : absolute / larger;
    out.max_relative = std::max(out.max_relative, larger > 0 ? relative : 0);
}

void add_difference(const Whole& a, const Whole& b, Deviation& out) {
    if (a.is_negative != b.is_negative) {
        add_difference(as_double(a), as_double(b), out);
        return;
    }
    ++out.different;
    const auto absolute = static_cast<double>(std::max(a.bits, b.bits) - std::min(a.bits, b.bits));
    const double larger = std::max(std::fabs(as_double(a)), std::fabs(as_double(b)));
    out.max_absolute = std::max(out.max_absolute, absolute);
    out.max_relative = std::max(out.max_relative, absolute / larger);
}

template <auto decode>
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

/// Of one type without real numbers.
Deviation compare_bits(std::size_t itemsize, std::span<const std::byte> a, std::span<const std::byte> b) {
    Deviation result;
    result.is_measured = false;
    for (std::size_t at = 0; at < a.size(); at += itemsize) {
        result.different += std::memcmp(a.data() + at, b.data() + at, itemsize) == 0 ? 0U : 1U;
    }
    return result;
}

/// Of two types, or of one of whole numbers.
Deviation compare_values(DType dtype_a, std::span<const std::byte> a, DType dtype_b, std::span<const std::byte> b) {
    const std::size_t itemsize_a = model::itemsize(dtype_a);
    const std::size_t itemsize_b = model::itemsize(dtype_b);
    const Decoder decode_a = decoder(dtype_a);
    const Decoder decode_b = decoder(dtype_b);
    Deviation result;
    if (decode_a.real == nullptr || decode_b.real == nullptr) {
        result.is_measured = false;
        result.different = a.size() / itemsize_a;
        return result;
    }
    const bool are_whole = decode_a.whole != nullptr && decode_b.whole != nullptr;
    for (std::size_t index = 0; index < a.size() / itemsize_a; ++index) {
        const std::byte* const at_a = a.data() + index * itemsize_a;
        const std::byte* const at_b = b.data() + index * itemsize_b;
        if (are_whole) {
            const Whole left = decode_a.whole(at_a);
            const Whole right = decode_b.whole(at_b);
            if (!(left == right)) {
                add_difference(left, right, result);
            }
            continue;
        }
        const double left = decode_a.real(at_a);
        const double right = decode_b.real(at_b);
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
        return compare_values(dtype_a, a, dtype_b, b);
    }
    const std::size_t itemsize = model::itemsize(dtype_a);
    if (std::memcmp(a.data(), b.data(), a.size()) == 0) {
        Deviation equal;
        equal.is_measured = decoder(dtype_a).real != nullptr;
        return equal;
    }
    switch (dtype_a) {
        case DType::float32:
            return compare_floats<of_float32>(itemsize, a, b);
        case DType::bfloat16:
            return compare_floats<of_bfloat16>(itemsize, a, b);
        case DType::float16:
            return compare_floats<of_float16>(itemsize, a, b);
        case DType::float64:
            return compare_floats<of_float64>(itemsize, a, b);
        default:
            return decoder(dtype_a).whole != nullptr ? compare_values(dtype_a, a, dtype_b, b)
                                                     : compare_bits(itemsize, a, b);
    }
}

}  // namespace ckptfs::diff
