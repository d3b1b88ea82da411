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

/// Three digits, or all where there are few: "0.05", "0.9999", "0.00301"; below 0.001 and from 1,000,000 on with an
/// exponent: "4.77e-04", "1e-08".
[[nodiscard]] std::string human_number(double number);

/// Per-rank values but for zeros, the first few runs of equal ones: "2 on ranks 0-2, 5 on rank 3"; "0" of zeros alone.
[[nodiscard]] std::string per_rank(const std::vector<std::uint64_t>& values);

[[nodiscard]] std::string joined(const std::vector<std::string>& words, std::string_view separator);

/// Columns padded to their widest cell, two spaces between them; those named in `right` are right-aligned.
[[nodiscard]] std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right,
                                std::string_view indent);

}  // namespace ckptfs
