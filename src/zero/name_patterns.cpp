// Whole names go into a table, what is left to <regex>.
#include "zero/name_patterns.h"

#include <algorithm>
#include <cctype>

#include "util/name_expression.h"

namespace ckptfs::zero {
namespace {

constexpr std::size_t most_expressions = 1'000;
/// Of all of them, as size_of_expression() counts: each of their characters may be compared with each of every name.
constexpr std::size_t largest_expressions = 10'000;

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
    const std::size_t size = size_of_expression(pattern);
    if (others_.size() == most_expressions || others_size_ + size > largest_expressions) {
        return Error(ErrorCode::unsupported, "it has more than " + std::to_string(most_expressions) +
                                                 " expressions, or such as are larger than " +
                                                 std::to_string(largest_expressions) + " together");
    }
    auto expression = compile_expression(texts_.back(), ExpressionUse::of_checkpoint);
    if (!expression.ok()) {
        return Error(ErrorCode::unsupported, "the expression '" + texts_.back() + "' " + expression.error().message());
    }
    others_.emplace_back(number, *std::move(expression));
    others_size_ += size;
    return {};
}

std::vector<std::size_t> NamePatterns::matches(const std::string& name) const {
    std::vector<std::size_t> found;
    if (const auto whole = whole_names_.find(name); whole != whole_names_.end()) {
        found = whole->second;
    }
    for (const auto& [number, expression] : others_) {
        if (std::regex_search(name, expression, std::regex_constants::match_continuous)) {
            found.push_back(number);
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace ckptfs::zero
