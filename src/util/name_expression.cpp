// What is allowed in an expression, and how it is matched.
#include "util/name_expression.h"

#include <algorithm>
#include <vector>

namespace ckptfs {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// The digits at `at`, which moves behind them; not above `largest_expression` + 1.
std::size_t read_count(std::string_view pattern, std::size_t& at) {
    std::size_t count = 0;
    for (; at < pattern.size() && is_digit(pattern[at]); ++at) {
        count = std::min(count * 10 + static_cast<std::size_t>(pattern[at] - '0'), largest_expression + 1);
    }
    return count;
}

struct Syntax {
    bool looks_ahead_within_look_ahead = false;
    bool has_lazy_repetition = false;
};

/// The index of the last character of the class that begins at `at`.
std::size_t end_of_class(std::string_view pattern, std::size_t at) {
    for (++at; at < pattern.size() && pattern[at] != ']'; ++at) {
        if (pattern[at] == '\\') {
            ++at;
        } else if (pattern[at] == '[' && at + 1 < pattern.size() &&
                   std::string_view(".:=").find(pattern[at + 1]) != std::string_view::npos) {
            const std::size_t end = pattern.find(std::string{pattern[at + 1], ']'}, at + 2);
            at = end == std::string_view::npos ? pattern.size() : end + 1;
        }
    }
    return at;
}

Syntax syntax_of(std::string_view pattern) {
    Syntax syntax;
    std::vector<bool> open_groups;  // by depth: whether it looks ahead
    bool after_repetition = false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const char c = pattern[i];
        syntax.has_lazy_repetition = syntax.has_lazy_repetition || (c == '?' && after_repetition);
        after_repetition = c == '*' || c == '+' || c == '?' || c == '}';
        if (c == '\\') {
            ++i;
        } else if (c == '[') {
            i = end_of_class(pattern, i);
        } else if (c == '(') {
            const std::string_view opening = pattern.substr(i, 3);
            const bool looks_ahead = opening == "(?=" || opening == "(?!";
            const bool is_within = std::find(open_groups.begin(), open_groups.end(), true) != open_groups.end();
            syntax.looks_ahead_within_look_ahead = syntax.looks_ahead_within_look_ahead || (looks_ahead && is_within);
            open_groups.push_back(looks_ahead);
            if (opening.starts_with("(?")) {
                i += 2;
            }
        } else if (c == ')' && !open_groups.empty()) {
            open_groups.pop_back();
        }
    }
    return syntax;
}

Result<void> check(std::string_view pattern, ExpressionUse use) {
    if (size_of_expression(pattern) > largest_expression) {
        return Error(ErrorCode::unsupported, "is too large: its length times its counts, as in {3}, may be " +
                                                 std::to_string(largest_expression) + " at most");
    }
    const bool may_look_ahead = use != ExpressionUse::of_checkpoint;
    if (!may_look_ahead &&
        (pattern.find("(?=") != std::string_view::npos || pattern.find("(?!") != std::string_view::npos)) {
        return Error(ErrorCode::unsupported, "looks ahead, which is not supported here");
    }
    const Syntax syntax = syntax_of(pattern);
    if (syntax.looks_ahead_within_look_ahead) {
        return Error(ErrorCode::unsupported,
                     "looks ahead within a look-ahead, which can take for ever; write one after the other");
    }
    if (use == ExpressionUse::replacing && syntax.has_lazy_repetition) {
        return Error(ErrorCode::unsupported,
                     "has a lazy repetition, as in '.*?', but the longest match is what is replaced; say what may be "
                     "repeated, as in '[^.]*'");
    }
    return {};
}

}  // namespace

std::size_t size_of_expression(std::string_view pattern) {
    // Counts are taken wherever they stand, also where '{' stands for itself: never too small a size.
    std::size_t size = std::min(pattern.size(), largest_expression + 1);
    for (std::size_t i = 0; i < pattern.size();) {
        if (pattern[i++] != '{') {
            continue;
        }
        std::size_t count = read_count(pattern, i);
        if (i < pattern.size() && pattern[i] == ',') {
            ++i;
            count = i < pattern.size() && is_digit(pattern[i]) ? std::max(count, read_count(pattern, i)) : count + 1;
        }
        size = std::min(size * std::max<std::size_t>(count, 1), largest_expression + 1);
    }
    return size;
}

Result<std::regex> compile_expression(const std::string& pattern, ExpressionUse use) {
    CKPTFS_TRY(check(pattern, use));
    // libstdc++'s matcher without backtracking.
    auto flags = std::regex::ECMAScript | std::regex_constants::__polynomial;
    if (use != ExpressionUse::replacing) {
        flags |= std::regex::nosubs;
    }
    try {
        return std::regex(pattern, flags);
    } catch (const std::regex_error& error) {
        if (error.code() == std::regex_constants::error_complexity) {
            return Error(ErrorCode::unsupported,
                         "has a back-reference, as '\\1', which can take for ever; write out what it stands for");
        }
        return Error(ErrorCode::invalid_argument, std::string("is no regular expression: ") + error.what());
    }
}

}  // namespace ckptfs
