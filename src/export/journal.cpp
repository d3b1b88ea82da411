// Lines of words, so that a person can read them.
#include "export/journal.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>

#include "pt/crc32.h"

namespace ckptfs::exporting {
namespace {

constexpr std::size_t checksum_digits = 8;
constexpr std::string_view complete_word = "complete";
constexpr std::string_view anew_word = "anew";

std::string hexadecimal(std::uint32_t value) {
    std::string digits(checksum_digits, '0');
    for (std::size_t i = digits.size(); i-- > 0; value >>= 4U) {
        digits[i] = "0123456789abcdef"[value & 15U];
    }
    return digits;
}

/// Takes words off the front of a line.
class Words {
 public:
    explicit Words(std::string_view line) : rest_(line) {}

    [[nodiscard]] bool empty() const { return rest_.empty(); }

    std::string_view next(char separator = ' ') {
        const std::size_t end = std::min(rest_.find(separator), rest_.size());
        const std::string_view word = rest_.substr(0, end);
        rest_.remove_prefix(std::min(end + 1, rest_.size()));
        return word;
    }

    template <class T>
    bool number(T& value, int base, char separator = ' ') {
        const std::string_view word = next(separator);
        const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), value, base);
        return failure == std::errc() && end == word.data() + word.size();
    }

 private:
    std::string_view rest_;
};

std::optional<JournalEntry> parse_entry(std::string_view text) {
    Words words(text);
    JournalEntry entry;
    if (!words.number(entry.file, 10)) {
        return std::nullopt;
    }
    Words lookahead = words;
    const std::string_view word = lookahead.next();
    if (word == complete_word || word == anew_word) {
        entry.kind = word == anew_word ? JournalEntry::Kind::anew : JournalEntry::Kind::complete;
        return entry;
    }
    if (!words.number(entry.segment, 10)) {
        return std::nullopt;
    }
    while (!words.empty()) {
        ChecksumPart part;
        if (!words.number(part.record, 10, ':') || !words.number(part.crc32, 16)) {
            return std::nullopt;
        }
        entry.parts.push_back(part);
    }
    return entry;
}

std::optional<JournalEntry> parse_line(std::string_view line) {
    Words words(line);
    std::uint32_t checksum = 0;
    if (line.size() <= checksum_digits || !words.number(checksum, 16)) {
        return std::nullopt;
    }
    const std::string_view text = line.substr(checksum_digits + 1);
    return pt::crc32_of(text) == checksum ? parse_entry(text) : std::nullopt;
}

void apply(const JournalEntry& entry, std::map<std::uint64_t, FinishedFile>& files) {
    switch (entry.kind) {
        case JournalEntry::Kind::segment:
            files[entry.file].segments[entry.segment] = entry.parts;
            break;
        case JournalEntry::Kind::complete:
            files[entry.file].is_complete = true;
            break;
        case JournalEntry::Kind::anew:
            files.erase(entry.file);
            break;
    }
}

}  // namespace

std::string journal_line(const JournalEntry& entry) {
    std::string text = std::to_string(entry.file) + " ";
    if (entry.kind != JournalEntry::Kind::segment) {
        text += entry.kind == JournalEntry::Kind::anew ? anew_word : complete_word;
    } else {
        text += std::to_string(entry.segment);
        for (const ChecksumPart& part : entry.parts) {
            text += " " + std::to_string(part.record) + ":" + hexadecimal(part.crc32);
        }
    }
    return hexadecimal(pt::crc32_of(text)) + " " + text + "\n";
}

LoadedJournal load_journal(std::string_view text) {
    LoadedJournal journal;
    while (true) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) {
            return journal;
        }
        const auto entry = parse_line(text.substr(0, end));
        if (!entry) {
            return journal;
        }
        apply(*entry, journal.files);
        journal.nbytes += end + 1;
        text.remove_prefix(end + 1);
    }
}

}  // namespace ckptfs::exporting
