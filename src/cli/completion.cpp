// Completion for bash and zsh: words that the command lines take, as data in a script for each shell.
#include <algorithm>

#include "cli/documents.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

/// In single quotes of a shell.
std::string shell_quoted(std::string_view text) {
    std::string out = "'";
    for (const char letter : text) {
        if (letter == '\'') {
            out += "'\\''";
        } else {
            out += letter;
        }
    }
    return out + "'";
}

bool is_long(const std::string& name) {
    return name.starts_with("--");
}

/// Whether files of the caller's stand for the value.
bool names_a_file(const OptionDescription& option) {
    return option.value == "FILE";
}

std::vector<std::string> words_of(const CommandDescription& command) {
    std::vector<std::string> words;
    for (const OptionDescription& option : command.options) {
        for (const std::string& name : option.names) {
            words.push_back(is_long(name) && !option.value.empty() ? name + "=" : name);
        }
    }
    return words;
}

std::vector<std::string> names_of(const std::vector<CommandDescription>& commands) {
    std::vector<std::string> names;
    for (const CommandDescription& command : commands) {
        if (!command.name.empty()) {
            names.push_back(command.name);
        }
    }
    return names;
}

// What `case` in bash matches: all names of the options of one kind, each once.
template <class Kind>
std::string names_where(const std::vector<CommandDescription>& commands, const Kind& is_meant) {
    std::vector<std::string> names;
    for (const CommandDescription& command : commands) {
        for (const OptionDescription& option : command.options) {
            if (is_meant(option)) {
                names.insert(names.end(), option.names.begin(), option.names.end());
            }
        }
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return joined(names, "|");
}

// The value of an option is a word of its own for bash where `=` breaks words, as it does unless somebody has changed
// COMP_WORDBREAKS. What -o takes is a list, of which the last word is completed.
constexpr const char* bash_function = R"BASH(
_ckptfs() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous="" command="" option="" front="" index word positionals=0
    [[ $COMP_CWORD -gt 0 ]] && previous=${COMP_WORDS[COMP_CWORD - 1]}
    [[ $COMP_CWORD -gt 1 && " $_ckptfs_commands " == *" ${COMP_WORDS[1]} "* ]] && command=${COMP_WORDS[1]}
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; ++index)); do
        word=${COMP_WORDS[index]}
        if [[ $word == -- ]]; then
            if [[ $command == run && $index -eq $((COMP_CWORD - 1)) ]]; then
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            fi
            compopt -o default 2>/dev/null
            return
        fi
        [[ $word == [-=]* || ${COMP_WORDS[index - 1]} == = ]] || positionals=$((positionals + 1))
    done
    if [[ $cur == = ]]; then
        option=$previous cur=""
    elif [[ $previous == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $cur == --*=* ]]; then
        option=${cur%%=*} front=$option= cur=${cur#*=}
    elif _ckptfs_takes_value "$previous"; then
        option=$previous
    fi
    if [[ $option == -o ]]; then
        [[ $cur != *,* ]] || front=${cur%,*},
        compopt -o nospace 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -P "$front" -W "$_ckptfs_mount_words" -- "${cur##*,}")
    elif [[ -n $option ]]; then
        if _ckptfs_takes_file "$option"; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -P "$front" -f -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -P "$front" -W "$(_ckptfs_values "$option")" -- "$cur")
            [[ ${COMPREPLY[*]} != *- ]] || compopt -o nospace 2>/dev/null
        fi
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_ckptfs_options "$command")" -- "$cur")
        [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
    elif [[ $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_ckptfs_commands" -- "$cur")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        if [[ $positionals -eq 0 && $COMP_CWORD -eq 1 ]]; then
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$_ckptfs_commands" -- "$cur")
        fi
    fi
}
complete -F _ckptfs ckptfs
)BASH";

/// In brackets, or between colons, of _arguments.
std::string for_zsh(std::string_view text) {
    std::string out;
    for (const char letter : text) {
        if (letter == '[' || letter == ']' || letter == ':' || letter == '\\') {
            out += '\\';
        }
        out += letter;
    }
    return out;
}

std::string zsh_value(const OptionDescription& option) {
    if (option.value.empty()) {
        return "";
    }
    std::string action = " ";
    if (names_a_file(option)) {
        action = "_files";
    } else if (!option.choices.empty()) {
        action = "(" + joined(option.choices, " ") + ")";
    }
    return ":" + for_zsh(option.value) + ":" + action;
}

bool runs_a_program(const CommandDescription& command) {
    return command.usage.find("-- COMMAND") != std::string::npos;
}

// What stands behind `--` is a command line of its own.
constexpr const char* zsh_program =
    "local mark=${words[(i)--]}\n"
    "            if (( mark < CURRENT )); then\n"
    "                words=(\"${(@)words[mark + 1,-1]}\")\n"
    "                (( CURRENT -= mark ))\n"
    "                _normal\n"
    "                return\n"
    "            fi\n            ";

/// A specification of _arguments on a line of its own.
void add_specification(std::string& out, const std::string& specification) {
    out.append(" \\\n            ").append(shell_quoted(specification));
}

std::string zsh_arguments(const CommandDescription& command) {
    std::string out = "_arguments -S";
    for (const OptionDescription& option : command.options) {
        const std::string all = option.is_repeatable ? "*" : "(" + joined(option.names, " ") + ")";
        for (const std::string& name : option.names) {
            std::string specification = all;
            specification.append(name).append(is_long(name) && !option.value.empty() ? "=" : "");
            specification.append("[").append(for_zsh(option.text)).append("]").append(zsh_value(option));
            add_specification(out, specification);
        }
    }
    for (std::size_t index = 0; index < command.positionals.size(); ++index) {
        const std::string& name = command.positionals[index].name;
        std::string specification = std::to_string(index + 1);
        specification.append(":").append(name).append(name == "COMMAND" ? ":_ckptfs_commands" : ":_files -/");
        add_specification(out, specification);
    }
    return out + "\n";
}

}  // namespace

std::string bash_completion(const std::vector<CommandDescription>& commands,
                            const std::vector<std::string>& mount_words) {
    std::string out = "# Completion of ckptfs for bash, as `ckptfs help --completion=bash` prints it.\n";
    out += "_ckptfs_commands=" + shell_quoted(joined(names_of(commands), " ")) + "\n";
    out +=
        "_ckptfs_mount_words=" + shell_quoted(joined(mount_words, " ")) + "\n\n_ckptfs_options() {\n    case $1 in\n";
    for (const CommandDescription& command : commands) {
        out += "        " + shell_quoted(command.name) + ") echo " + shell_quoted(joined(words_of(command), " ")) +
               " ;;\n";
    }
    out += "    esac\n}\n\n_ckptfs_values() {\n    case $1 in\n";
    std::vector<std::string> seen;
    for (const CommandDescription& command : commands) {
        for (const OptionDescription& option : command.options) {
            const std::string& name = option.names.back();
            if (!option.choices.empty() && std::find(seen.begin(), seen.end(), name) == seen.end()) {
                seen.push_back(name);
                out += "        " + name + ") echo " + shell_quoted(joined(option.choices, " ")) + " ;;\n";
            }
        }
    }
    out += "    esac\n}\n\n_ckptfs_takes_value() {\n    case $1 in\n        " +
           names_where(commands, [](const auto& option) { return !option.value.empty(); }) +
           ") return 0 ;;\n    esac\n    return 1\n}\n\n_ckptfs_takes_file() {\n    case $1 in\n        " +
           names_where(commands, names_a_file) + ") return 0 ;;\n    esac\n    return 1\n}\n";
    return out + bash_function;
}

std::string zsh_completion(const std::vector<CommandDescription>& commands) {
    std::string out =
        "#compdef ckptfs\n# Completion of ckptfs for zsh, as `ckptfs help --completion=zsh` prints it.\n\n";
    out += "_ckptfs_commands() {\n    local -a commands=(\n";
    for (const CommandDescription& command : commands) {
        if (!command.name.empty()) {
            out += "        " + shell_quoted(command.name + ":" + summary_of(command)) + "\n";
        }
    }
    out += "    )\n    _describe -t commands command commands\n}\n\n_ckptfs() {\n";
    out += "    local command=\"\"\n    (( CURRENT > 2 )) && command=$words[2]\n    case $command in\n";
    std::string mounts;
    for (const CommandDescription& command : commands) {
        if (command.name.empty()) {
            mounts = zsh_arguments(command);
        } else {
            out += "        " + command.name + ")\n            shift words\n            (( CURRENT-- ))\n            " +
                   (runs_a_program(command) ? zsh_program : "") + zsh_arguments(command) + "            ;;\n";
        }
    }
    out += "        *)\n            (( CURRENT == 2 )) && [[ $words[2] != -* ]] && _ckptfs_commands\n            " +
           mounts + "            ;;\n    esac\n}\n\n_ckptfs \"$@\"\n";
    return out;
}

}  // namespace ckptfs::cli
