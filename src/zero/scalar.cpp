// Decodes the dtypes that optimizers count in.
#include "zero/scalar.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace ckptfs::zero {
namespace {

template <class T>
double as_double(std::span<const std::byte> bytes) {
    T number{};
    std::memcpy(&number, bytes.data(), sizeof number);
    return static_cast<double>(number);
}

// IEEE binary16.
double half_as_double(std::uint16_t bits) {
    const int exponent = static_cast<int>((bits >> 10U) & 0x1fU);
    const double fraction = (bits & 0x3ffU) / 1024.0;
    constexpr int largest_exponent = 31;
    double magnitude = std::ldexp(1.0 + fraction, exponent - 15);
    if (exponent == 0) {
        magnitude = std::ldexp(fraction, -14);
    } else if (exponent == largest_exponent) {
        magnitude = fraction == 0 ? HUGE_VAL : std::nan("");
    }
    return (bits & 0x8000U) != 0 ? -magnitude : magnitude;
}

}  // namespace

std::optional<double> decode_number(model::DType dtype, std::span<const std::byte> bytes) {
    if (bytes.size() < model::itemsize(dtype)) {
        return std::nullopt;
    }
    std::uint16_t bits = 0;
    switch (dtype) {
        case model::DType::float32:
            return as_double<float>(bytes);
        case model::DType::float64:
            return as_double<double>(bytes);
        case model::DType::int64:
            return as_double<std::int64_t>(bytes);
        case model::DType::int32:
            return as_double<std::int32_t>(bytes);
        case model::DType::int16:
            return as_double<std::int16_t>(bytes);
        case model::DType::bfloat16:
            std::memcpy(&bits, bytes.data(), sizeof bits);
            return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
        case model::DType::float16:
            std::memcpy(&bits, bytes.data(), sizeof bits);
            return half_as_double(bits);
        default:
            return std::nullopt;
    }
}

std::string number_text(double value) {
    if (value == 0) {
        return "0";  // whatever its sign: it compares equal
    }
    if (std::isnan(value)) {
        return "nan";  // whatever its sign and payload
    }
    std::array<char, 40> text{};
    const auto [end, failure] = std::to_chars(text.data(), text.data() + text.size(), value);
    return failure == std::errc() ? std::string(text.data(), end) : std::to_string(value);
}

}  // namespace ckptfs::zero
