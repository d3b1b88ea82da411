// What --help says of a command, as data: the manual page and completion are made of it.
#pragma once

#include <string>
#include <vector>

namespace ckptfs::cli {

struct OptionDescription {
    std::vector<std::string> names;    ///< "-f", "--foreground"
    std::string value;                 ///< what stands for its value: "N", "FILE"; empty: it takes none
    std::vector<std::string> choices;  ///< words that a value may be, or begin with; empty: any
    std::string text;
    bool is_repeatable = false;
};

struct PositionalDescription {
    std::string name;
    std::string text;
};

struct CommandDescription {
    std::string name;  ///< empty: the one without a name, which mounts
    std::string usage;
    std::string text;   ///< what it does: sentences, and line breaks between some
    std::string notes;  ///< likewise, behind the options
    std::vector<PositionalDescription> positionals;
    std::vector<OptionDescription> options;
};

/// Of a table of names and what they mean, what an option takes: "source|fp32|bf16|fp16".
template <class Table>
[[nodiscard]] std::string choices_in(const Table& table) {
    std::string choices;
    for (const auto& [name, meaning] : table) {
        choices.append(choices.empty() ? "" : "|").append(name);
    }
    return choices;
}

/// The first sentence of what a command does, without its full stop.
[[nodiscard]] std::string summary_of(const CommandDescription& command);

}  // namespace ckptfs::cli
