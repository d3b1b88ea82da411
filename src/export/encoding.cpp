// Percent signs, as in addresses of the web.
#include "export/encoding.h"

#include <charconv>

namespace ckptfs::exporting {
namespace {

constexpr std::string_view empty_text = "%";
constexpr std::string_view hexadecimal_digits = "0123456789ABCDEF";

}  // namespace

std::string encoded(std::string_view text) {
    if (text.empty()) {
        return std::string(empty_text);
    }
    std::string word;
    for (const char character : text) {
        if (character > ' ' && character <= '~' && character != '%') {
            word += character;
            continue;
        }
        const auto byte = static_cast<unsigned char>(character);
        word += '%';
        word += hexadecimal_digits[byte >> 4U];
        word += hexadecimal_digits[byte & 15U];
    }
    return word;
}

std::string decoded(std::string_view word) {
    if (word == empty_text) {
        return {};
    }
    std::string text;
    while (!word.empty()) {
        unsigned byte = 0;
        const char* const digits = word.data() + 1;
        if (word.size() >= 3 && word[0] == '%' && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
            text += static_cast<char>(byte);
            word.remove_prefix(3);
        } else {
            text += word[0];
            word.remove_prefix(1);
        }
    }
    return text;
}

}  // namespace ckptfs::exporting
