// Escapes for control characters.
#include "util/printable.h"

#include <array>
#include <cstdio>

namespace ckptfs {

std::string printable(std::string_view text) {
    std::string result;
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte >= 0x20 && byte != 0x7f) {
            result += character;
            continue;
        }
        std::array<char, 5> escape{};
        (void)std::snprintf(escape.data(), escape.size(), "\\x%02x", static_cast<unsigned>(byte));
        result += escape.data();
    }
    return result;
}

}  // namespace ckptfs
