// Claims are compared as lines; words are taken apart only to say what differs.
#include "export/manifest.h"

#include <algorithm>
#include <set>

#include "export/encoding.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

constexpr std::string_view first_line = "ckptfs-export 1";
constexpr std::string_view last_line = "end";
constexpr const char* another_version = "was begun by another version of ckptfs";

std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    while (!line.empty()) {
        const std::size_t blank = std::min(line.find(' '), line.size());
        words.emplace_back(line.substr(0, blank));
        line.remove_prefix(std::min(blank + 1, line.size()));
    }
    return words;
}

struct Claim {
    std::string kind;
    std::string name;   // decoded
    std::string value;  // decoded; of a setting, and of the version

    explicit Claim(std::string_view line) {
        const auto words = words_of(line);
        kind = words.empty() ? "" : words[0];
        name = words.size() > 1 ? decoded(words[1]) : "";
        value = words.size() > 2 ? decoded(words[2]) : "";
    }

    [[nodiscard]] bool is_of_entry() const { return kind == "file" || kind == "link" || kind == "directory"; }
    [[nodiscard]] bool is_of_the_same(const Claim& other) const { return kind == other.kind && name == other.name; }
};

std::optional<Claim> find(const std::vector<std::string>& lines, const Claim& of) {
    for (const std::string& line : lines) {
        if (const Claim claim(line); claim.is_of_the_same(of)) {
            return claim;
        }
    }
    return std::nullopt;
}

std::string given(const std::optional<Claim>& setting, const std::string& name) {
    return setting ? "with " + name + "=" + printable(setting->value) : "without " + name;
}

/// `one`: a claim that stands in one list alone, or in both with other words.
std::string about(const Claim& one, const std::vector<std::string>& then, const std::vector<std::string>& now) {
    const auto before = find(then, one);
    const auto after = find(now, one);
    if (one.kind == "setting") {
        return "was begun " + given(before, one.name) + ", and this is " + given(after, one.name);
    }
    if (!one.is_of_entry()) {
        return another_version;
    }
    const std::string what = in_quotes(one.name);
    if (before && after) {
        return "was begun before " + what + " changed";
    }
    return "was begun when there was " + std::string(before ? "" : "no ") + what + ", which is " +
           (before ? "gone" : "there now");
}

}  // namespace

Manifest::Manifest(const std::string& version, const std::vector<Setting>& settings, const Plan& plan) {
    lines_.emplace_back(first_line);
    lines_.push_back("version " + encoded(version));
    lines_.push_back("segment " + std::to_string(plan.segment_nbytes));
    for (const Setting& setting : settings) {
        lines_.push_back("setting " + encoded(setting.name) + " " + encoded(setting.value));
    }
    for (const PlannedEntry& entry : plan.entries) {
        lines_.push_back(identity_line(entry));
    }
    lines_.emplace_back(last_line);
}

std::optional<Manifest> Manifest::parse(std::string_view text) {
    Manifest manifest;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        manifest.lines_.emplace_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    const auto& lines = manifest.lines_;
    const bool whole = lines.size() > 1 && lines.front() == first_line && lines.back() == last_line;
    return whole ? std::optional(manifest) : std::nullopt;
}

std::string Manifest::text() const {
    std::string text;
    for (const std::string& line : lines_) {
        text += line + '\n';
    }
    return text;
}

std::optional<std::string> Manifest::difference(const Manifest& now) const {
    // What was asked for comes first: it can be why entries differ.
    for (const bool of_entries : {false, true}) {
        const auto only_in = [&](const std::vector<std::string>& some, const std::vector<std::string>& others) {
            const std::set<std::string_view> known(others.begin(), others.end());
            const auto found = std::find_if(some.begin(), some.end(), [&](const std::string& line) {
                return !known.contains(line) && Claim(line).is_of_entry() == of_entries;
            });
            return found == some.end() ? std::optional<Claim>() : std::optional(Claim(*found));
        };
        for (const auto& claim : {only_in(lines_, now.lines_), only_in(now.lines_, lines_)}) {
            if (claim) {
                return about(*claim, lines_, now.lines_);
            }
        }
    }
    // The same lines in another order.
    return lines_ == now.lines_ ? std::optional<std::string>() : another_version;
}

}  // namespace ckptfs::exporting
