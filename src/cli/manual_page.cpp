// Manual pages in the macros of man(7), which groff and mandoc both know.
#include <algorithm>

#include "ckptfs/version.h"
#include "cli/documents.h"
#include "cli/exit_code.h"

namespace ckptfs::cli {
namespace {

/// Text as roff shows it: each character for itself.
std::string roff_text(std::string_view text) {
    std::string out;
    for (const char letter : text) {
        switch (letter) {
            case '\\':
                out += "\\e";
                break;
            case '-':
                out += "\\-";
                break;
            case '\'':
                out += "\\(aq";
                break;
            case '`':
                out += "\\(ga";
                break;
            case '^':
                out += "\\(ha";
                break;
            case '~':
                out += "\\(ti";
                break;
            case '"':
                out += "\\(dq";
                break;
            default:
                out += letter;
        }
    }
    return out;
}

/// A line that is none of roff's commands.
std::string roff_line(std::string_view text) {
    const std::string out = roff_text(text);
    return (out.starts_with('.') ? "\\&" : "") + out + "\n";
}

/// Sentences that flow. A line break of --help, where lines are as wide as they are, is none here; an empty line is.
std::string paragraphs(std::string_view text) {
    std::string out;
    bool begins = true;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view one = text.substr(0, end);
        if (one.empty()) {
            begins = true;
        } else {
            out += (begins && !out.empty() ? ".PP\n" : "") + roff_line(one);
            begins = false;
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

std::string page_title(std::string_view name, std::string_view section, std::string_view date) {
    return ".\\\" Made by `ckptfs help --manual`: what --help says, as a manual page.\n.TH " + std::string(name) + " " +
           std::string(section) + " " + std::string(date) + " \"ckptfs " + version + "\" \"ckptfs\"\n";
}

std::string roff_item(std::string_view head, std::string_view text) {
    return ".TP\n.B " + roff_line(head) + roff_line(text);
}

std::string options_of(const CommandDescription& command) {
    std::string out;
    for (const PositionalDescription& positional : command.positionals) {
        out += ".TP\n.I " + roff_line(positional.name) + roff_line(positional.text);
    }
    for (const OptionDescription& option : command.options) {
        std::string head;
        for (const std::string& name : option.names) {
            head += (head.empty() ? "\\fB" : ", \\fB") + roff_text(name) + "\\fR";
        }
        if (!option.value.empty()) {
            const bool is_long = option.names.back().starts_with("--");
            head += (is_long ? "=\\fI" : " \\fI") + roff_text(option.value) + "\\fR";
        }
        out += ".TP\n" + head + "\n" + roff_line(option.text);
    }
    return out;
}

std::string exit_status_section() {
    std::string out = ".SH EXIT STATUS\n";
    for (const ExitMeaning& meaning : exit_meanings) {
        out += roff_item(std::to_string(status_of(meaning.code)), meaning.text);
    }
    return out;
}

constexpr std::string_view variables_section =
    ".SH ENVIRONMENT\n"
    ".TP\n.B CKPTFS_VIEW\nSet for the COMMAND of \\fBckptfs run\\fR: the path at which it finds the view.\n"
    ".TP\n.B WORLD_SIZE\\fR, \\fBSLURM_NTASKS\\fR, \\fBCUDA_VISIBLE_DEVICES\n"
    "What \\fB\\-\\-world\\-size=auto\\fR takes, in that order.\n"
    ".TP\n.B XDG_RUNTIME_DIR\\fR, \\fBTMPDIR\n"
    "Where \\fBckptfs run\\fR puts its mounts; /tmp where neither is set.\n"
    ".TP\n.B NOTIFY_SOCKET\n"
    "Of systemd: a mount in the foreground says there when it answers, and when it ends.\n"
    ".TP\n.B SOURCE_DATE_EPOCH\nThe date of the pages that \\fBckptfs help \\-\\-manual\\fR prints.\n";

constexpr std::string_view examples_section =
    ".SH EXAMPLES\n"
    "A job of 8 ranks resumes from \\fIckpt\\fR, whatever number of ranks saved it, and saves to it:\n"
    ".PP\n.RS\n.nf\n"
    "ckptfs run \\-\\-in\\-place ckpt \\-\\-world\\-size=8 \\-\\- torchrun \\-\\-nproc\\-per\\-node=8 train.py\n"
    ".fi\n.RE\n.PP\n"
    "A read-only mount, until it is unmounted:\n"
    ".PP\n.RS\n.nf\n"
    "ckptfs ckpt /mnt/ckpt \\-\\-world\\-size=8\n"
    "ckptfs umount /mnt/ckpt\n"
    ".fi\n.RE\n.PP\n"
    "In /etc/fstab:\n"
    ".PP\n.RS\n.nf\n"
    "/data/ckpt  /mnt/ckpt  ckptfs  world\\-size=8,allow_other,_netdev  0 0\n"
    ".fi\n.RE\n";

}  // namespace

std::string summary_of(const CommandDescription& command) {
    const std::size_t lines_end = std::min(command.text.find('\n'), command.text.size());
    std::string text = command.text.substr(0, lines_end);
    const std::size_t end = std::min({text.find(". "), text.find(": "), text.size()});
    text.resize(end);
    if (text.ends_with('.')) {
        text.pop_back();
    }
    return text;
}

std::string manual_page(const std::vector<CommandDescription>& commands, std::string_view date) {
    std::string out = page_title("CKPTFS", "1", date);
    out += ".SH NAME\nckptfs \\- shows a DeepSpeed ZeRO checkpoint at any world size\n.SH SYNOPSIS\n.nf\n";
    for (const CommandDescription& command : commands) {
        out += roff_line(command.usage);
    }
    out += ".fi\n";
    for (const CommandDescription& command : commands) {
        if (command.name.empty()) {
            out += ".SH DESCRIPTION\n" + paragraphs(command.text) + ".PP\n" + paragraphs(command.notes) +
                   ".SH OPTIONS\n" + options_of(command) + ".SH COMMANDS\n";
        } else {
            out += ".SS " + roff_line("ckptfs " + command.name) + paragraphs(command.text) + options_of(command);
            out += command.notes.empty() ? "" : ".PP\n" + paragraphs(command.notes);
        }
    }
    out += exit_status_section();
    out += variables_section;
    out += examples_section;
    out += ".SH SEE ALSO\n.BR mount.ckptfs (8),\n.BR fusermount3 (1),\n.BR fstab (5)\n";
    return out;
}

std::string mount_helper_page(const CommandDescription& helper, std::string_view date) {
    std::string out = page_title("MOUNT.CKPTFS", "8", date);
    out += ".SH NAME\nmount.ckptfs \\- mounts a DeepSpeed ZeRO checkpoint at any world size, for mount(8)\n";
    out += ".SH SYNOPSIS\n.nf\n" + roff_line(helper.usage) + ".fi\n.SH DESCRIPTION\n" + paragraphs(helper.text) +
           ".SH OPTIONS\n" + options_of(helper) + ".PP\n" + paragraphs(helper.notes);
    out += exit_status_section();
    out += ".SH SEE ALSO\n.BR ckptfs (1),\n.BR mount (8),\n.BR fstab (5)\n";
    return out;
}

}  // namespace ckptfs::cli
