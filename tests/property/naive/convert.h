// From one floating-point type to another by looking for the nearest value, one element after the other.
#pragma once

#include <string>
#include <string_view>

namespace naive {

/// `bytes` of torch's storage class `from` in the class `to`: the nearest value, of two as near the one with an even
/// last bit. A NaN becomes some NaN. Of FloatStorage, HalfStorage and BFloat16Storage; `from` also DoubleStorage.
[[nodiscard]] std::string convert(const std::string& bytes, std::string_view from, std::string_view to);

/// Byte for byte, but any NaN of a floating-point type is as good as another.
[[nodiscard]] bool equal_elements(const std::string& a, const std::string& b, std::string_view type);

}  // namespace naive
