// Formatting for people.
#include "util/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace ckptfs {

std::string in_quotes(std::string_view text) {
    return "'" + printable(text) + "'";
}

std::string trimmed(std::string_view text) {
    constexpr const char* white_space = " \t\r\n\v\f";
    const std::size_t first = text.find_first_not_of(white_space);
    if (first == std::string_view::npos) {
        return {};
    }
    return std::string(text.substr(first, text.find_last_not_of(white_space) + 1 - first));
}

std::string grouped(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t place = digits.size(); place > 3; place -= 3) {
        digits.insert(place - 3, 1, ',');
    }
    return digits;
}

std::string counted(std::uint64_t number, std::string_view singular, std::string_view plural) {
    std::string noun(singular);
    if (number != 1) {
        noun = plural.empty() ? noun + "s" : std::string(plural);
    }
    return grouped(number) + " " + noun;
}

std::string human_nbytes(std::uint64_t nbytes) {
    if (nbytes < 1000) {
        return std::to_string(nbytes) + " B";
    }
    constexpr std::array<const char*, 6> units{"kB", "MB", "GB", "TB", "PB", "EB"};
    double value = static_cast<double>(nbytes) / 1000;
    std::size_t unit = 0;
    // 999.95 would be printed as "1000.0".
    while (value >= 999.95 && unit + 1 < units.size()) {
        value /= 1000;
        ++unit;
    }
    std::array<char, 32> buffer{};
    (void)std::snprintf(buffer.data(), buffer.size(), "%.1f %s", value, units.at(unit));
    return buffer.data();
}

std::string human_number(double number) {
    constexpr double least_plain = 1e-3;
    constexpr double least_large = 1e6;
    std::array<char, 32> buffer{};
    const auto written = [&](const char* format) {
        (void)std::snprintf(buffer.data(), buffer.size(), format, number);
        return std::string(buffer.data());
    };
    const double magnitude = std::fabs(number);
    if (!std::isfinite(number) || magnitude == 0) {
        return written("%g");
    }
    const auto is_exact = [&](const std::string& text) { return std::strtod(text.c_str(), nullptr) == number; };
    if (magnitude >= least_plain && magnitude < least_large) {
        const std::string five_digits = written("%.5g");
        const std::string three_digits = written("%.3g");
        const bool is_rounded_away = std::strtod(three_digits.c_str(), nullptr) == std::round(number);
        return is_exact(five_digits) ? five_digits : is_rounded_away ? written("%.9g") : three_digits;
    }
    for (const char* format : {"%.0e", "%.1e"}) {
        if (std::string text = written(format); is_exact(text)) {
            return text;
        }
    }
    return written("%.2e");
}

std::string per_rank(const std::vector<std::uint64_t>& values) {
    constexpr std::size_t most = 3;
    std::vector<std::string> runs;
    std::size_t more = 0;
    for (std::size_t begin = 0, end = 0; begin < values.size(); begin = end) {
        while (end < values.size() && values[end] == values[begin]) {
            ++end;
        }
        const std::string ranks = end - begin == 1 ? "rank " + std::to_string(begin)
                                                   : "ranks " + std::to_string(begin) + "-" + std::to_string(end - 1);
        if (values[begin] > 0 && runs.size() < most) {
            runs.push_back(grouped(values[begin]) + " on " + ranks);
        } else if (values[begin] > 0) {
            more += end - begin;
        }
    }
    if (more > 0) {
        runs.push_back("some on " + counted(more, "more rank"));
    }
    return runs.empty() ? "0" : joined(runs, ", ");
}

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
    std::string result;
    for (std::size_t index = 0; index < words.size(); ++index) {
        result += index == 0 ? "" : std::string(separator);
        result += words[index];
    }
    return result;
}

std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right,
                  std::string_view indent) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t column = 0; column < row.size(); ++column) {
            widths[column] = std::max(widths[column], row[column].size());
        }
    }
    std::string result;
    for (const auto& row : rows) {
        std::string line(indent);
        for (std::size_t column = 0; column < row.size(); ++column) {
            const std::string fill(widths[column] - row[column].size(), ' ');
            const bool to_the_right = column < right.size() && right[column];
            line += column == 0 ? "" : "  ";
            line += to_the_right ? fill + row[column] : row[column] + fill;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        result += line + "\n";
    }
    return result;
}

}  // namespace ckptfs
