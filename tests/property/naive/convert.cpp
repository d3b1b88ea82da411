#include "naive/convert.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "naive/value.h"

namespace naive {
namespace {

/// A 16-bit format by the widths of its parts.
struct Format16 {
    int exponent_bits;
    int mantissa_bits;
};

Format16 format_of(std::string_view type) {
    return type == "HalfStorage" ? Format16{5, 10} : Format16{8, 7};
}

double value_of(std::uint16_t bits, Format16 format) {
    const int bias = (1 << (format.exponent_bits - 1)) - 1;
    const int exponent = (bits >> format.mantissa_bits) & ((1 << format.exponent_bits) - 1);
    const int mantissa = bits & ((1 << format.mantissa_bits) - 1);
    const double sign = (bits >> 15) != 0 ? -1 : 1;
    if (exponent == (1 << format.exponent_bits) - 1) {
        return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                             : sign * std::numeric_limits<double>::infinity();
    }
    const double fraction = std::ldexp(mantissa, -format.mantissa_bits);
    return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
}

/// The values of all patterns from zero on; that of infinity counts as the value that would come next.
std::vector<double> ascending(Format16 format) {
    std::vector<double> values;
    const int infinite = ((1 << format.exponent_bits) - 1) << format.mantissa_bits;
    for (int bits = 0; bits < infinite; ++bits) {
        values.push_back(value_of(static_cast<std::uint16_t>(bits), format));
    }
    values.push_back(std::ldexp(1, 1 << (format.exponent_bits - 1)));
    return values;
}

std::uint16_t nearest(double value, std::string_view type) {
    static const std::vector<double> half = ascending(format_of("HalfStorage"));
    static const std::vector<double> bfloat = ascending(format_of("BFloat16Storage"));
    const std::vector<double>& values = type == "HalfStorage" ? half : bfloat;
    const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
    if (std::isnan(value)) {
        return 0x7FFF;
    }
    const double magnitude = std::fabs(value);
    const auto above = std::lower_bound(values.begin(), values.end(), magnitude);
    if (above == values.end()) {
        return static_cast<std::uint16_t>(sign | (values.size() - 1));
    }
    auto index = static_cast<std::size_t>(above - values.begin());
    if (index > 0) {
        const double up = values[index] - magnitude;
        const double down = magnitude - values[index - 1];
        if (down < up || (down == up && index % 2 == 1)) {
            --index;
        }
    }
    return static_cast<std::uint16_t>(sign | index);
}

template <class T>
T element(const std::string& bytes, std::size_t index) {
    T result{};
    std::memcpy(&result, bytes.data() + index * sizeof result, sizeof result);
    return result;
}

// torch goes from double precision to 16 bits by way of single precision.
float widened(const std::string& bytes, std::size_t index, std::string_view type) {
    if (type == "DoubleStorage") {
        return static_cast<float>(element<double>(bytes, index));
    }
    if (type == "FloatStorage") {
        return element<float>(bytes, index);
    }
    return static_cast<float>(value_of(element<std::uint16_t>(bytes, index), format_of(type)));
}

bool is_nan(const std::string& bytes, std::size_t index, std::string_view type) {
    return type == "DoubleStorage" ? std::isnan(element<double>(bytes, index))
                                   : std::isnan(widened(bytes, index, type));
}

}  // namespace

std::string convert(const std::string& bytes, std::string_view from, std::string_view to) {
    if (from == to) {
        return bytes;
    }
    std::string result;
    for (std::size_t i = 0; i < bytes.size() / itemsize_of(from); ++i) {
        const float value = widened(bytes, i, from);
        if (to == "FloatStorage") {
            std::array<char, sizeof value> raw{};
            std::memcpy(raw.data(), &value, sizeof value);
            result.append(raw.data(), raw.size());
        } else {
            const std::uint16_t bits = nearest(value, to);
            result += static_cast<char>(bits & 0xFF);
            result += static_cast<char>(bits >> 8);
        }
    }
    return result;
}

bool equal_elements(const std::string& a, const std::string& b, std::string_view type) {
    if (a == b) {
        return true;
    }
    const std::size_t itemsize = itemsize_of(type);
    if (a.size() != b.size() || type == "LongStorage" || type == "ByteStorage") {
        return false;
    }
    for (std::size_t i = 0; i < a.size() / itemsize; ++i) {
        const bool same = a.compare(i * itemsize, itemsize, b, i * itemsize, itemsize) == 0;
        if (!same && !(is_nan(a, i, type) && is_nan(b, i, type))) {
            return false;
        }
    }
    return true;
}

}  // namespace naive
