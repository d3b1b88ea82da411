// Decodes UTF-8 strictly, and writes out what would not be seen as what it is.
#include "util/plain_text.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace ckptfs {
namespace {

/// A character, or one byte that begins none.
struct Character {
    std::string_view bytes;
    std::uint32_t code = 0;
    bool is_valid = false;
};

struct Lead {
    unsigned mask;
    unsigned value;
    std::size_t nbytes;
    std::uint32_t least;  ///< code that needs so many bytes
};
constexpr std::array<Lead, 4> leads{
    {{0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}}};

Character first_of(std::string_view text) {
    const auto byte = static_cast<unsigned char>(text.front());
    for (const Lead& lead : leads) {
        if ((byte & lead.mask) != lead.value || text.size() < lead.nbytes) {
            continue;
        }
        std::uint32_t code = byte & ~lead.mask & 0xffU;
        bool is_valid = true;
        for (std::size_t index = 1; index < lead.nbytes; ++index) {
            const auto next = static_cast<unsigned char>(text[index]);
            is_valid = is_valid && (next & 0xc0U) == 0x80U;
            code = code << 6U | (next & 0x3fU);
        }
        const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
        if (is_valid && code >= lead.least && code <= 0x10ffff && !is_surrogate) {
            return {text.substr(0, lead.nbytes), code, true};
        }
    }
    return {text.substr(0, 1), byte, false};
}

bool is_between(std::uint32_t code, std::uint32_t first, std::uint32_t last) {
    return code >= first && code <= last;
}

/// Unseen, or turning what stands around it.
bool is_hidden(std::uint32_t code) {
    return code < 0x20 || is_between(code, 0x7f, 0x9f) || code == 0xad || code == 0x61c ||
           is_between(code, 0x200b, 0x200f) || is_between(code, 0x2028, 0x202e) || is_between(code, 0x2060, 0x206f) ||
           code == 0xfeff || is_between(code, 0xfff9, 0xfffb) || (code & 0xfffeU) == 0xfffeU ||
           is_between(code, 0xe0000, 0xe007f);
}

std::string written_out(const Character& character) {
    std::array<char, 12> buffer{};
    const char* form = character.code < 0x80 || !character.is_valid ? "\\x%02x" : "\\u{%04x}";
    (void)std::snprintf(buffer.data(), buffer.size(), form, static_cast<unsigned>(character.code));
    return buffer.data();
}

}  // namespace

std::string plain_text(std::string_view text, std::size_t most) {
    std::vector<std::string> characters;
    while (!text.empty()) {
        const Character character = first_of(text);
        text.remove_prefix(character.bytes.size());
        const bool is_shown = character.is_valid && !is_hidden(character.code);
        characters.push_back(is_shown ? std::string(character.bytes) : written_out(character));
    }
    const bool is_long = characters.size() > most;
    const std::size_t head = is_long ? most / 2 : characters.size();
    const std::size_t tail = is_long ? characters.size() - (most - head - 1) : characters.size();
    std::string result;
    for (std::size_t index = 0; index < head; ++index) {
        result += characters[index];
    }
    result += is_long ? "…" : "";
    for (std::size_t index = tail; index < characters.size(); ++index) {
        result += characters[index];
    }
    return result;
}

std::string markup(std::string_view text) {
    std::string result;
    for (const char character : text) {
        switch (character) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            case '\'':
                result += "&#39;";
                break;
            default:
                result += character;
        }
    }
    return result;
}

std::string json_in_markup(std::string_view json) {
    std::string result;
    for (const char character : json) {
        switch (character) {
            case '<':
                result += "\\u003c";
                break;
            case '>':
                result += "\\u003e";
                break;
            case '&':
                result += "\\u0026";
                break;
            default:
                result += character;
        }
    }
    return result;
}

}  // namespace ckptfs
