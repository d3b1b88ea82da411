// Bytes first: elements are looked at where those differ.
#include "verify/element_differences.h"

#include <algorithm>
#include <cstring>

#include "verify/plain_conversion.h"

namespace ckptfs::verify {

std::optional<std::uint64_t> first_difference(model::DType dtype, std::span<const std::byte> expected,
                                              std::span<const std::byte> found) {
    const std::size_t itemsize = model::itemsize(dtype);
    auto from = expected.begin();
    while (true) {
        from = std::mismatch(from, expected.end(), found.begin() + (from - expected.begin())).first;
        if (from == expected.end()) {
            return std::nullopt;
        }
        const std::size_t index = static_cast<std::size_t>(from - expected.begin()) / itemsize;
        const std::size_t byte = index * itemsize;
        if (!is_nan(dtype, expected.subspan(byte, itemsize)) || !is_nan(dtype, found.subspan(byte, itemsize))) {
            return index;
        }
        from = expected.begin() + static_cast<std::ptrdiff_t>(byte + itemsize);
    }
}

std::optional<std::uint64_t> first_unequal(std::uint64_t itemsize, std::span<const std::byte> expected,
                                           std::span<const std::byte> found) {
    if (std::memcmp(expected.data(), found.data(), expected.size()) == 0) {
        return std::nullopt;
    }
    const auto [mismatch, in_found] = std::mismatch(expected.begin(), expected.end(), found.begin());
    return static_cast<std::uint64_t>(mismatch - expected.begin()) / itemsize;
}

}  // namespace ckptfs::verify
