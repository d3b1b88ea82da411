// Regular expressions that names are matched with, where neither may be trusted.
#pragma once

#include <cstddef>
#include <regex>
#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs {

/// Of an expression, counted as size_of_expression() counts. The matcher calls itself for parts of an expression, in
/// less than 512 KiB of stack at this size, however long the name is.
constexpr std::size_t largest_expression = 1'000;

/// Characters, each as often as counted repetitions write it out: of "(a{3}){5}" 15 times 9, as if every count stood
/// within every other. Stops counting beyond `largest_expression`.
std::size_t size_of_expression(std::string_view pattern);

enum class ExpressionUse {
    of_checkpoint,  ///< from a file: may not look ahead
    finding,        ///< may look ahead, but not within a look-ahead
    replacing,      ///< as finding, and keeps groups; lazy repetition is refused, since the longest match is taken
};

/// ECMAScript's syntax without back-references. Nothing is tried twice at a place of the name: time grows with the
/// product of the expression's size and the name's length when the match must begin where the name does, with the
/// square of the length otherwise, and with one more power of both where the expression looks ahead. A message goes on
/// after "the expression '…' ". `unsupported` for what would take longer or is too large, else `invalid_argument`.
Result<std::regex> compile_expression(const std::string& pattern, ExpressionUse use);

}  // namespace ckptfs
