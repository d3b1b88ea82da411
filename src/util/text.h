// How the commands write names, numbers and sizes for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "util/printable.h"

namespace ckptfs {

/// printable() in single quotes.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// Without white space at either end.
[[nodiscard]] std::string trimmed(std::string_view text);

/// With thousands separators: "1,048,576".
[[nodiscard]] std::string grouped(std::uint64_t number);
/// "1,048,576 elements"; "1 element". `plural` where an "s" will not do.
[[nodiscard]] std::string counted(std::uint64_t number, std::string_view singular, std::string_view plural = {});
/// In decimal units with one decimal: "3.1 MB"; exact below 1,000: "812 B".
[[nodiscard]] std::string human_nbytes(std::uint64_t nbytes);

/// Per-rank values with equal neighbours joined: "0 on ranks 0-2, 5 on rank 3"; "0" where all are equal.
[[nodiscard]] std::string per_rank(const std::vector<std::uint64_t>& values);

[[nodiscard]] std::string joined(const std::vector<std::string>& words, std::string_view separator);

/// Columns padded to their widest cell, two spaces between them; those named in `right` are right-aligned.
[[nodiscard]] std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right,
                                std::string_view indent);

}  // namespace ckptfs
