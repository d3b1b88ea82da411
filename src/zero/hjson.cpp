// A recursive-descent parser, rule by rule that of hjson-py 3.1.0 (hjson/decoder.py), whose functions are cited.
#include "zero/hjson.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "pt/pickle_utf8.h"
#include "util/printable.h"
#include "zero/hjson_text.h"

namespace ckptfs::zero {
namespace {

using nlohmann::json;

constexpr int deepest_nesting = 400;
constexpr std::string_view punctuators = "{}[],:";

class Parser {
 public:
    Parser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

    // HjsonDecoder.raw_decode and decode. The braces of the outermost object may be absent.
    Result<json> document() {
        CKPTFS_TRY(skip_space());
        if (at_end()) {
            return json::object();
        }
        json root;
        if (peek() == '{' || peek() == '[') {
            CKPTFS_ASSIGN(root, value(0));
        } else {
            CKPTFS_ASSIGN(root, members(0, /*braces=*/false));
        }
        CKPTFS_TRY(skip_space());
        if (!at_end()) {
            return error(position_, "there is more after the end of the outermost value");
        }
        return root;
    }

 private:
    [[nodiscard]] bool at_end(std::size_t ahead = 0) const { return position_ + ahead >= text_.size(); }
    // NUL past the end, which is neither space nor punctuation.
    [[nodiscard]] char peek(std::size_t ahead = 0) const { return at_end(ahead) ? '\0' : text_[position_ + ahead]; }
    [[nodiscard]] bool follows(std::string_view what) const { return text_.substr(position_).starts_with(what); }

    [[nodiscard]] Error error(std::size_t position, const std::string& what) const {
        const std::string_view before = text_.substr(0, position);
        const auto line = std::count(before.begin(), before.end(), '\n') + 1;
        const std::size_t begin = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
        return {ErrorCode::invalid_argument, name_ + ", line " + std::to_string(line) + ", column " +
                                                 std::to_string(code_points(before.substr(begin)) + 1) + ": " + what};
    }

    // getNext: white space and comments.
    Result<void> skip_space() {
        for (;;) {
            while (!at_end() && is_space(peek())) {
                ++position_;
            }
            if (peek() == '#' || follows("//")) {
                position_ = std::min(text_.find('\n', position_), text_.size());
            } else if (follows("/*")) {
                const std::size_t end = text_.find("*/", position_ + 2);
                if (end == std::string_view::npos) {
                    return error(position_, "the comment that begins here has no end; write */");
                }
                position_ = end + 2;
            } else {
                return {};
            }
        }
    }

    // _scan_once
    Result<json> value(int depth) {
        if (at_end()) {
            return error(position_, "a value is expected, and the file ends");
        }
        if (depth > deepest_nesting) {
            return error(position_, "more than " + std::to_string(deepest_nesting) + " levels of braces and brackets");
        }
        switch (peek()) {
            case '"':
            case '\'': {
                CKPTFS_ASSIGN(std::string text, follows("'''") ? multiline() : quoted());
                return json(std::move(text));
            }
            case '{':
                ++position_;
                return members(depth + 1, /*braces=*/true);
            case '[':
                ++position_;
                return elements(depth + 1);
            default:
                return unquoted();
        }
    }

    // JSONObject, after its opening brace
    Result<json> members(int depth, bool braces) {
        json object = json::object();
        const std::size_t begin = position_ - (braces ? 1 : 0);
        CKPTFS_TRY(skip_space());
        if (braces && peek() == '}') {
            ++position_;
            return object;
        }
        for (;;) {
            CKPTFS_TRY(skip_space());
            const std::size_t at = position_;
            CKPTFS_ASSIGN(std::string name, key(braces ? std::optional(begin) : std::nullopt));
            CKPTFS_TRY(skip_space());
            if (peek() != ':') {
                return error(position_, "':' is expected after the key '" + printable(name) + "'");
            }
            ++position_;
            CKPTFS_TRY(skip_space());
            CKPTFS_ASSIGN(json member, value(depth));
            if (!object.emplace(name, std::move(member)).second) {
                return error(at, "the key '" + printable(name) + "' is there twice in one object; remove one");
            }
            CKPTFS_TRY(skip_comma());
            if (braces ? peek() == '}' : at_end()) {
                position_ += braces ? 1 : 0;
                return object;
            }
        }
    }

    // JSONArray, after its opening bracket
    Result<json> elements(int depth) {
        json array = json::array();
        const std::size_t begin = position_ - 1;
        CKPTFS_TRY(skip_space());
        while (peek() != ']') {
            if (at_end()) {
                return error(begin, "the '[' that is here is never closed");
            }
            CKPTFS_ASSIGN(json element, value(depth));
            array.push_back(std::move(element));
            CKPTFS_TRY(skip_comma());
        }
        ++position_;
        return array;
    }

    Result<void> skip_comma() {
        CKPTFS_TRY(skip_space());
        if (peek() == ',') {
            ++position_;
            return skip_space();
        }
        return {};
    }

    // scanKeyName. `brace`: where the object was opened.
    Result<std::string> key(std::optional<std::size_t> brace) {
        if (peek() == '"' || peek() == '\'') {
            return quoted();
        }
        const std::size_t begin = position_;
        std::optional<std::size_t> space;  // the last of the white space at the end of the key
        for (;; ++position_) {
            if (at_end()) {
                return brace && begin == position_ ? error(*brace, "the '{' that is here is never closed")
                                                   : error(begin, "a key is expected, then ':', and the file ends");
            }
            const char c = peek();
            if (c == ':') {
                if (begin == position_) {
                    return error(begin, "there is no key before the ':' (write \"\" for an empty one)");
                }
                if (space && *space != position_ - 1) {
                    return error(*space, "white space in a key; put the key in quotes");
                }
                const std::string_view found = text_.substr(begin, position_ - begin);
                return std::string(space ? stripped(found, /*front=*/false) : found);
            }
            if (is_space(c)) {
                space = !space || *space == position_ - 1 ? position_ : *space;
            } else if (punctuators.find(c) != std::string_view::npos) {
                return error(position_, std::string("'") + c + "' where a key is expected");
            }
        }
    }

    // scanstring
    Result<std::string> quoted() {
        const std::size_t begin = position_;
        const char quote = text_[position_++];
        std::string result;
        for (;;) {
            if (at_end()) {
                return error(begin, "the string that begins here has no end");
            }
            const char c = text_[position_++];
            if (c == quote) {
                return result;
            }
            if (static_cast<unsigned char>(c) < 0x20) {
                return error(position_ - 1, c == '\n'
                                                ? "a string in quotes ends before its line does; close it, or use '''"
                                                : "a control character in a string; write it as \\u00XX");
            }
            if (c != '\\') {
                result += c;
                continue;
            }
            CKPTFS_TRY(escape(result));
        }
    }

    // After the backslash.
    Result<void> escape(std::string& result) {
        const std::size_t begin = position_ - 1;
        constexpr std::string_view names = "\"'\\/bfnrt";
        constexpr std::string_view meanings = "\"'\\/\b\f\n\r\t";
        if (const std::size_t which = names.find(peek()); !at_end() && which != std::string_view::npos) {
            result += meanings[which];
            ++position_;
            return {};
        }
        if (peek() != 'u') {
            return error(begin, "a backslash is followed by one of \"'\\/bfnrt or by uXXXX");
        }
        const auto unit = [this]() -> std::optional<std::uint32_t> {
            std::uint32_t code = 0;
            const std::string_view digits = text_.substr(std::min(position_ + 1, text_.size()), 4);
            const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
            if (digits.size() != 4 || failure != std::errc() || end != digits.data() + 4) {
                return std::nullopt;
            }
            position_ += 5;
            return code;
        };
        std::optional<std::uint32_t> code = unit();
        if (!code) {
            return error(begin, "\\u is followed by four hexadecimal digits");
        }
        if ((*code & 0xfc00U) == 0xd800U && follows("\\u")) {
            ++position_;
            const std::optional<std::uint32_t> low = unit();
            if (!low || (*low & 0xfc00U) != 0xdc00U) {
                return error(begin, "half of a surrogate pair");
            }
            code = 0x10000U + ((*code - 0xd800U) << 10U) + (*low - 0xdc00U);
        }
        if ((*code & 0xfffff800U) == 0xd800U) {
            return error(begin, "half of a surrogate pair");
        }
        append_utf8(result, *code);
        return {};
    }

    // mlscanstring: ''' and on, less the indentation of the first quote.
    Result<std::string> multiline() {
        const std::size_t begin = position_;
        const std::size_t indent = indentation(text_, begin);
        position_ += 3;
        skip_indent(std::nullopt);
        if (peek() == '\n') {
            ++position_;
            skip_indent(indent);
        }
        std::string result;
        while (!at_end()) {
            if (follows("'''")) {
                position_ += 3;
                if (result.ends_with('\n')) {
                    result.pop_back();
                }
                return result;
            }
            const char c = text_[position_++];
            result += c;
            if (c == '\n') {
                skip_indent(indent);
            }
        }
        return error(begin, "the ''' that is here is never closed");
    }

    void skip_indent(std::optional<std::size_t> most) {
        for (std::size_t i = 0; (!most || i < *most) && (peek() == ' ' || peek() == '\t'); ++i) {
            ++position_;
        }
    }

    // scantfnns: a constant or a number up to a comma, a bracket or a comment, else all of the line.
    Result<json> unquoted() {
        const std::size_t begin = position_;
        if (punctuators.find(peek()) != std::string_view::npos) {
            return error(begin, std::string("'") + peek() + "' where a value is expected");
        }
        for (;; ++position_) {
            const bool line_ends = at_end() || peek() == '\n';
            const std::string_view found = text_.substr(begin, position_ - begin);
            if (line_ends || std::string_view(",}]#").find(peek()) != std::string_view::npos || follows("//") ||
                follows("/*")) {
                const std::string_view word = stripped(found, /*front=*/false);
                if (word == "null") {
                    return json();
                }
                if (word == "true" || word == "false") {
                    return json(word == "true");
                }
                if (is_number(found)) {
                    return number(found, begin);
                }
            }
            if (line_ends) {
                return json(std::string(stripped(found)));
            }
        }
    }

    Result<json> number(std::string_view text, std::size_t begin) const {
        text = text.substr(0, text.find_last_not_of(" \t") + 1);
        const char* const end = text.data() + text.size();
        double real = 0;
        if (std::from_chars(text.data(), end, real).ec != std::errc()) {
            return error(begin, "a number outside the range of a double");
        }
        if (text.find_first_of(".eE") == std::string_view::npos) {
            std::int64_t negative = 0;
            std::uint64_t whole = 0;
            if (std::from_chars(text.data(), end, whole).ec == std::errc()) {
                return json(whole);
            }
            return std::from_chars(text.data(), end, negative).ec == std::errc() ? json(negative) : json(real);
        }
        // 1e9 and 2.0 are whole numbers.
        if (std::trunc(real) == real && std::abs(real) < 1e10) {
            const auto whole = static_cast<std::int64_t>(real);
            return whole < 0 ? json(whole) : json(static_cast<std::uint64_t>(whole));
        }
        return json(real);
    }

    std::string_view text_;
    const std::string& name_;
    std::size_t position_ = 0;
};

}  // namespace

Result<json> parse_hjson(std::string_view text, const std::string& name) {
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    if (text.starts_with(byte_order_mark)) {
        text.remove_prefix(byte_order_mark.size());
    }
    if (!pickle::is_utf8(text)) {
        return Error(ErrorCode::invalid_argument, name + ": not UTF-8; save it as UTF-8");
    }
    // Python's text mode: a lone carriage return ends a line as well.
    const std::string lines = with_unix_line_ends(text);
    return Parser(lines, name).document();
}

}  // namespace ckptfs::zero
