// Words are measured and dealt to lines.
#include "util/layout.h"

#include <algorithm>
#include <utility>

namespace ckptfs {
namespace {

// printable() leaves no control character, so that none of a name's own can be taken for it.
constexpr char hard_space = '\x01';
constexpr std::size_t gap = 2;
constexpr std::size_t least_last_column = 20;
constexpr std::size_t deeper = 4;  // what stands below its row

/// Of UTF-8.
bool begins_character(char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U;
}

bool is_letter(char character) {
    const auto byte = static_cast<unsigned char>(character);
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte >= 0x80;
}

/// Where the quotation that begins at `begin` ends; npos where that is an apostrophe, or nothing closes it.
std::size_t closing_quote(std::string_view text, std::size_t begin) {
    if (begin > 0 && text[begin - 1] != ' ' && text[begin - 1] != '(' && text[begin - 1] != '=') {
        return std::string_view::npos;
    }
    for (std::size_t at = begin + 1; at < text.size(); ++at) {
        if (text[at] == '\'' && (at + 1 == text.size() || !is_letter(text[at + 1]))) {
            return at;
        }
    }
    return std::string_view::npos;
}

std::string without_hard_spaces(std::string text) {
    std::replace(text.begin(), text.end(), hard_space, ' ');
    return text;
}

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    std::string word;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == ' ') {
            if (!word.empty()) {
                words.push_back(std::move(word));
            }
            word.clear();
            continue;
        }
        const std::size_t end = text[at] == '\'' ? closing_quote(text, at) : std::string_view::npos;
        if (end == std::string_view::npos) {
            word += text[at];
        } else {
            word.append(text.substr(at, end - at + 1));
            at = end;
        }
    }
    if (!word.empty()) {
        words.push_back(std::move(word));
    }
    return words;
}

std::string padded(const std::string& cell, std::size_t width, bool to_the_right) {
    const std::size_t columns = shown_width(cell);
    const std::string fill(width > columns ? width - columns : 0, ' ');
    return to_the_right ? fill + cell : cell + fill;
}

/// How a table's columns are dealt to a line.
class Fitting {
 public:
    Fitting(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right, std::string_view indent,
            std::size_t columns)
        : right_(right), indent_(indent), columns_(columns) {
        for (const auto& row : rows) {
            widths_.resize(std::max(widths_.size(), row.size()));
            for (std::size_t column = 0; column < row.size(); ++column) {
                widths_[column] = std::max(widths_[column], shown_width(row[column]));
            }
        }
        if (widths_.size() < 2) {
            return;
        }
        if (begin_of(widths_.size() - 1) + widths_.back() <= columns) {
            return;
        }
        const std::size_t needed = std::max(std::min(widths_.back(), least_last_column), widest_last_word(rows));
        const std::size_t others = begin_of(widths_.size() - 1) - indent_.size() - gap - widths_.front();
        if (begin_of(widths_.size() - 1) + needed > columns) {
            const std::size_t rest = indent_.size() + gap + others + needed;
            const std::size_t left = columns > rest ? columns - rest : 0;
            // A first column of short names, of which few are long, keeps its place beside the others.
            const std::size_t least = first_column_of_most(rows);
            if (least <= left) {
                widths_.front() = least;
            } else {
                last_is_below_ = true;
            }
        }
    }

    void add(const std::vector<std::string>& row, std::string& out) const {
        std::string line(indent_);
        for (std::size_t column = 0; column < row.size(); ++column) {
            const bool is_last = column + 1 == widths_.size() && column > 0;
            if (is_last && shown_width(line) + gap + shown_width(row[column]) > columns_) {
                add_last(row[column], line, out);
                return;
            }
            line += column == 0 ? "" : std::string(gap, ' ');
            const bool to_the_right = column < right_.size() && right_[column];
            line += padded(row[column], widths_[column], to_the_right);
            if (column == 0 && shown_width(row[column]) > widths_[column]) {
                out += without_hard_spaces(line) + "\n";
                line = std::string(indent_.size() + widths_[column], ' ');
            }
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += without_hard_spaces(std::move(line)) + "\n";
    }

 private:
    [[nodiscard]] std::size_t begin_of(std::size_t column) const {
        std::size_t begin = indent_.size();
        for (std::size_t before = 0; before < column; ++before) {
            begin += widths_[before] + gap;
        }
        return begin;
    }

    /// Of the last column.
    [[nodiscard]] std::size_t widest_last_word(const std::vector<std::vector<std::string>>& rows) const {
        std::size_t widest = 0;
        for (const auto& row : rows) {
            if (row.size() == widths_.size()) {
                for (const std::string& word : words_of(row.back())) {
                    widest = std::max(widest, shown_width(word));
                }
            }
        }
        return widest;
    }

    /// The width within which three rows of four have their first cell.
    static std::size_t first_column_of_most(const std::vector<std::vector<std::string>>& rows) {
        std::vector<std::size_t> widths;
        for (const auto& row : rows) {
            if (!row.empty()) {
                widths.push_back(shown_width(row.front()));
            }
        }
        std::sort(widths.begin(), widths.end());
        return widths[(widths.size() - 1) * 3 / 4];
    }

    void add_last(const std::string& cell, std::string line, std::string& out) const {
        const std::size_t begin = shown_width(line) + gap;
        if (!last_is_below_ && begin < columns_) {
            line += std::string(gap, ' ');
            out += wrapped(cell, columns_, line, begin);
            return;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += without_hard_spaces(std::move(line)) + "\n";
        const std::string below(indent_.size() + deeper, ' ');
        out += wrapped(cell, columns_, below, below.size());
    }

    const std::vector<bool>& right_;
    std::string_view indent_;
    std::size_t columns_;
    std::vector<std::size_t> widths_;
    bool last_is_below_ = false;
};

}  // namespace

std::size_t shown_width(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

std::string_view shown_prefix(std::string_view text, std::size_t columns) {
    std::size_t end = 0;
    for (std::size_t width = 0; end < text.size(); ++end) {
        width += begins_character(text[end]) ? 1U : 0U;
        if (width > columns) {
            break;
        }
    }
    return text.substr(0, end);
}

std::string unbroken(std::string_view text) {
    std::string result(text);
    std::replace(result.begin(), result.end(), ' ', hard_space);
    return result;
}

std::string wrapped(std::string_view text, std::size_t columns, std::string_view first, std::size_t rest) {
    std::string result;
    std::string line(first);
    std::size_t width = shown_width(line);
    bool is_empty = true;
    for (const std::string& word : words_of(text)) {
        const std::size_t word_width = shown_width(word);
        if (!is_empty && width + 1 + word_width > columns) {
            result += line + "\n";
            line = std::string(rest, ' ');
            width = rest;
            is_empty = true;
        }
        line += (is_empty ? "" : " ") + word;
        width += word_width + (is_empty ? 0 : 1);
        is_empty = false;
    }
    return without_hard_spaces(result + line) + "\n";
}

std::string fitted_table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right,
                         std::string_view indent, std::size_t columns) {
    const Fitting fitting(rows, right, indent, columns);
    std::string result;
    for (const auto& row : rows) {
        fitting.add(row, result);
    }
    return result;
}

}  // namespace ckptfs
