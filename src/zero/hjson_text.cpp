// Characters, escapes and numbers of Hjson.
#include "zero/hjson_text.h"

#include <algorithm>
#include <array>

namespace ckptfs::zero {
namespace {

bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U;
}

// str.isspace() of one character, in UTF-8.
constexpr std::array<std::string_view, 29> spaces{" ",
                                                  "\t",
                                                  "\n",
                                                  "\v",
                                                  "\f",
                                                  "\r",
                                                  "\x1c",
                                                  "\x1d",
                                                  "\x1e",
                                                  "\x1f",
                                                  "\xc2\x85",
                                                  "\xc2\xa0",
                                                  "\xe1\x9a\x80",
                                                  "\xe2\x80\x80",
                                                  "\xe2\x80\x81",
                                                  "\xe2\x80\x82",
                                                  "\xe2\x80\x83",
                                                  "\xe2\x80\x84",
                                                  "\xe2\x80\x85",
                                                  "\xe2\x80\x86",
                                                  "\xe2\x80\x87",
                                                  "\xe2\x80\x88",
                                                  "\xe2\x80\x89",
                                                  "\xe2\x80\x8a",
                                                  "\xe2\x80\xa8",
                                                  "\xe2\x80\xa9",
                                                  "\xe2\x80\xaf",
                                                  "\xe2\x81\x9f",
                                                  "\xe3\x80\x80"};

std::size_t digits(std::string_view text, std::size_t from) {
    const auto* const end = std::find_if(text.begin() + from, text.end(), [](char c) { return c < '0' || c > '9'; });
    return static_cast<std::size_t>(end - text.begin()) - from;
}

}  // namespace

std::string with_unix_line_ends(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\r') {
            result += '\n';
            if (text.substr(i + 1).starts_with('\n')) {
                ++i;
            }
        } else {
            result += text[i];
        }
    }
    return result;
}

std::size_t code_points(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

void append_utf8(std::string& text, std::uint32_t code_point) {
    const auto append = [&text](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
    const auto continuation = [&](unsigned shift) { append(0x80U | ((code_point >> shift) & 0x3fU)); };
    if (code_point < 0x80) {
        append(code_point);
    } else if (code_point < 0x800) {
        append(0xc0U | (code_point >> 6U));
        continuation(0);
    } else if (code_point < 0x10000) {
        append(0xe0U | (code_point >> 12U));
        continuation(6);
        continuation(0);
    } else {
        append(0xf0U | (code_point >> 18U));
        continuation(12);
        continuation(6);
        continuation(0);
    }
}

std::string_view stripped(std::string_view text, bool front) {
    const auto find = [](auto matches) { return std::find_if(spaces.begin(), spaces.end(), matches); };
    const auto* space = find([&](std::string_view one) { return text.ends_with(one); });
    while (space != spaces.end()) {
        text.remove_suffix(space->size());
        space = find([&](std::string_view one) { return text.ends_with(one); });
    }
    space = front ? find([&](std::string_view one) { return text.starts_with(one); }) : spaces.end();
    while (space != spaces.end()) {
        text.remove_prefix(space->size());
        space = find([&](std::string_view one) { return text.starts_with(one); });
    }
    return text;
}

bool is_number(std::string_view text) {
    text = text.substr(0, text.find_last_not_of(" \t") + 1);
    if (text.starts_with('-')) {
        text.remove_prefix(1);
    }
    const std::size_t whole = digits(text, 0);
    if (whole == 0 || (whole > 1 && text.front() == '0')) {
        return false;
    }
    text.remove_prefix(whole);
    if (text.starts_with('.')) {
        const std::size_t fraction = digits(text, 1);
        if (fraction == 0) {
            return false;
        }
        text.remove_prefix(1 + fraction);
    }
    if (text.starts_with('e') || text.starts_with('E')) {
        const std::size_t sign = text.size() > 1 && (text[1] == '+' || text[1] == '-') ? 2 : 1;
        const std::size_t exponent = digits(text, sign);
        if (exponent == 0) {
            return false;
        }
        text.remove_prefix(sign + exponent);
    }
    return text.empty();
}

std::size_t indentation(std::string_view text, std::size_t position) {
    const std::string_view before = text.substr(0, position);
    if (const std::size_t line_feed = before.rfind('\n'); line_feed != std::string_view::npos) {
        return code_points(before.substr(line_feed + 1));
    }
    const std::size_t last = text.rfind('\n');
    return last == std::string_view::npos ? 0 : code_points(before) + code_points(text.substr(last + 1));
}

}  // namespace ckptfs::zero
