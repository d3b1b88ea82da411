// Every value goes through a float: exact from 16 bits, rounded once to them.
#include "verify/plain_conversion.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>

namespace ckptfs::verify {
namespace {

using model::DType;

/// A binary floating-point type of 16 bits.
struct Format16 {
    int significand_bits = 0;  ///< without the leading one
    int least_exponent = 0;    ///< of normal values
    int largest_exponent = 0;
};

constexpr Format16 half{10, -14, 15};
constexpr Format16 brain{7, -126, 127};
constexpr unsigned sign_shift = 15;

std::optional<Format16> format16(DType dtype) {
    if (dtype == DType::float16) {
        return half;
    }
    return dtype == DType::bfloat16 ? std::optional(brain) : std::nullopt;
}

bool is_plain(DType dtype) {
    return dtype == DType::float64 || dtype == DType::float32 || format16(dtype).has_value();
}

bool is_whole_number(DType dtype) {
    switch (dtype) {
        case DType::int64:
        case DType::int32:
        case DType::int16:
        case DType::int8:
        case DType::uint8:
        case DType::boolean:
            return true;
        default:
            return false;
    }
}

template <class T>
T load(std::span<const std::byte> bytes) {
    T value{};
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

double decode16(std::uint16_t code, const Format16& format) {
    const int mask = (1 << format.significand_bits) - 1;
    const int significand = code & mask;
    const int biased = (code & 0x7fff) >> format.significand_bits;
    const double sign = (code >> sign_shift) != 0 ? -1.0 : 1.0;
    if (biased == format.largest_exponent - format.least_exponent + 2) {
        return significand == 0 ? sign * std::numeric_limits<double>::infinity()
                                : std::numeric_limits<double>::quiet_NaN();
    }
    if (biased == 0) {
        return sign * std::ldexp(significand, format.least_exponent - format.significand_bits);
    }
    return sign * std::ldexp(significand + mask + 1, format.least_exponent + biased - 1 - format.significand_bits);
}

/// Scales so that the type's values near this one are whole numbers, and rounds to a whole number.
std::uint16_t encode16(float value, const Format16& format) {
    const auto sign = static_cast<unsigned>(std::signbit(value) ? 1 : 0) << sign_shift;
    const unsigned infinite = static_cast<unsigned>(format.largest_exponent - format.least_exponent + 2)
                              << static_cast<unsigned>(format.significand_bits);
    if (std::isnan(value)) {
        return static_cast<std::uint16_t>(sign | infinite | 1U);
    }
    const double magnitude = std::fabs(static_cast<double>(value));
    if (std::isinf(value) || magnitude == 0) {
        return static_cast<std::uint16_t>(sign | (magnitude == 0 ? 0U : infinite));
    }
    const int exponent = std::max(std::ilogb(magnitude), format.least_exponent);
    const double steps = std::nearbyint(std::ldexp(magnitude, format.significand_bits - exponent));
    // One step further is the next code, also from the subnormal values to the normal ones and from the largest value
    // to infinity.
    const double code = std::ldexp(exponent - format.least_exponent, format.significand_bits) + steps;
    return static_cast<std::uint16_t>(sign | (code >= infinite ? infinite : static_cast<unsigned>(code)));
}

std::int64_t decode_whole(DType dtype, std::span<const std::byte> bytes) {
    switch (dtype) {
        case DType::int64:
            return load<std::int64_t>(bytes);
        case DType::int32:
            return load<std::int32_t>(bytes);
        case DType::int16:
            return load<std::int16_t>(bytes);
        case DType::int8:
            return load<std::int8_t>(bytes);
        default:
            return load<std::uint8_t>(bytes);
    }
}

double decode(DType dtype, std::span<const std::byte> bytes) {
    if (dtype == DType::float64) {
        return load<double>(bytes);
    }
    if (dtype == DType::float32) {
        return static_cast<double>(load<float>(bytes));
    }
    return decode16(load<std::uint16_t>(bytes), format16(dtype).value_or(half));
}

void encode(double value, DType dtype, std::span<std::byte> out) {
    const auto store = [out](auto encoded) { std::memcpy(out.data(), &encoded, sizeof encoded); };
    if (dtype == DType::float64) {
        store(value);
    } else if (dtype == DType::float32) {
        store(static_cast<float>(value));
    } else {
        store(encode16(static_cast<float>(value), format16(dtype).value_or(half)));
    }
}

}  // namespace

bool is_plainly_convertible(DType from, DType to) {
    return (is_plain(from) || is_whole_number(from)) && is_plain(to);
}

void convert_plainly(DType from, std::span<const std::byte> in, DType to, std::span<std::byte> out) {
    const std::size_t from_nbytes = model::itemsize(from);
    const std::size_t to_nbytes = model::itemsize(to);
    for (std::size_t index = 0; index * from_nbytes < in.size(); ++index) {
        const auto element = in.subspan(index * from_nbytes, from_nbytes);
        const auto place = out.subspan(index * to_nbytes, to_nbytes);
        // A whole number is rounded once, to a float: a double in between would round twice.
        const double value = is_whole_number(from)
                                 ? static_cast<double>(static_cast<float>(decode_whole(from, element)))
                                 : decode(from, element);
        encode(value, to, place);
    }
}

bool is_nan(DType dtype, std::span<const std::byte> bytes) {
    return is_plain(dtype) && std::isnan(decode(dtype, bytes));
}

}  // namespace ckptfs::verify
