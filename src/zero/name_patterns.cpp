// Whole names go into a table, what is left to PCRE2.
#include "zero/name_patterns.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace ckptfs::zero {
namespace {

constexpr std::size_t most_expressions = 1'000;
constexpr std::size_t most_expressions_nbytes = 4 << 20;

/// The name that "^name$" matches alone; '\' makes the next character, which is no letter or digit, stand for itself.
std::optional<std::string> whole_name(std::string_view pattern) {
    if (!pattern.starts_with('^') || !pattern.ends_with('$') || pattern.size() < 2) {
        return std::nullopt;
    }
    pattern = pattern.substr(1, pattern.size() - 2);
    std::string name;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        char c = pattern[i];
        if (c == '\\') {
            if (++i == pattern.size() || std::isalnum(static_cast<unsigned char>(pattern[i])) != 0) {
                return std::nullopt;
            }
            c = pattern[i];
        } else if (std::string_view(".^$*+?()[]{}|").find(c) != std::string_view::npos) {
            return std::nullopt;
        }
        name += c;
    }
    return name;
}

}  // namespace

Result<void> NamePatterns::add(std::string_view pattern) {
    const std::size_t number = texts_.size();
    texts_.emplace_back(pattern);
    if (std::optional<std::string> name = whole_name(pattern)) {
        whole_names_[*std::move(name)].push_back(number);
        return {};
    }
    auto expression = NameExpression::compile(texts_.back(), ExpressionOf::checkpoint);
    if (!expression.ok()) {
        return Error(ErrorCode::unsupported, "the expression '" + texts_.back() + "' " + expression.error().message());
    }
    others_nbytes_ += expression->nbytes();
    if (others_.size() == most_expressions || others_nbytes_ > most_expressions_nbytes) {
        return Error(ErrorCode::unsupported, "it has more than " + std::to_string(most_expressions) +
                                                 " expressions, or such as take more than " +
                                                 std::to_string(most_expressions_nbytes) + " bytes together");
    }
    others_.emplace_back(number, *std::move(expression));
    return {};
}

Result<std::vector<std::size_t>> NamePatterns::matches(const std::string& name) const {
    std::vector<std::size_t> found;
    if (const auto whole = whole_names_.find(name); whole != whole_names_.end()) {
        found = whole->second;
    }
    for (const auto& [number, expression] : others_) {
        const auto begins = expression.begins(name);
        if (!begins) {
            return Error(begins.error().code(), "the expression '" + texts_[number] + "' " + begins.error().message());
        }
        if (*begins) {
            found.push_back(number);
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace ckptfs::zero
