// One command line for each command.
#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/command_line.h"
#include "cli/mount_arguments.h"
#include "cli/operator_arguments.h"
#include "export/export.h"
#include "util/nearest_word.h"
#include "util/parallel.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* inspect_usage =
    "ckptfs inspect SOURCE [--json] [--params] [--world-size=N | --view=NAME] [--html=FILE] [--svg=FILE]";
constexpr const char* verify_usage = "ckptfs verify SOURCE [--json] [--world-size=N | --view=NAME] [--tag=NAME]";
constexpr const char* diff_usage = "ckptfs diff A B [--json] [--world-size=N | --view=NAME]";
constexpr const char* list_usage = "ckptfs ls SOURCE [PATH] [-l] [-R] [--world-size=N | --view=NAME]";
constexpr const char* cat_usage = "ckptfs cat SOURCE PATH [--world-size=N | --view=NAME]";
constexpr const char* export_usage =
    "ckptfs export SOURCE DEST (--world-size=N | --view=NAME) [--tag=NAME] [--jobs=N] [--memory=SIZE] [--verify] "
    "[--quiet]";
constexpr const char* help_usage = "ckptfs help [COMMAND | --manual=PAGE | --completion=SHELL]";
constexpr const char* shown_usage = "[--world-size=N | --view=NAME] and options that go with them";
constexpr const char* check_usage = "ckptfs check SOURCE --world-size=N --ds-config=FILE [--json]";

Result<Arguments> parse_inspect(const std::vector<std::string>& arguments) {
    InspectArguments result;
    Strings strings;
    CLI::App app(
        "Says what a checkpoint is: its tags, stage, world size, dtypes, optimizer, parameter groups and problems.");
    add_source(app, strings);
    app.add_flag("--json", result.json, "Print JSON instead of text");
    app.add_flag("--params", result.parameters, "Also every parameter: its shape, its dtypes, and where its bytes lie");
    app.add_option("--html", result.html_file, "With --world-size: draw the re-cut as a page, in this one file")
        ->type_name("FILE");
    app.add_option("--svg", result.svg_file, "With --world-size: draw the re-cut as a picture")->type_name("FILE");
    const TargetOptions target(app, strings, "Also show how the ranks are re-cut for N ranks",
                               ViewOptionsParser::Tag::not_taken);
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, inspect_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", inspect_usage));
    CKPTFS_ASSIGN(result.target, target.parse());
    if (result.html_file == "" || result.svg_file == "") {
        return usage_error(std::string("--html or --svg is empty: give the file to write; usage: ") + inspect_usage);
    }
    if (!result.target.world_size() && (result.html_file || result.svg_file)) {
        return usage_error(std::string("--html and --svg draw how the ranks are re-cut, which needs --world-size=N; ") +
                           "usage: " + inspect_usage);
    }
    result.source = strings.source;
    return Arguments(std::move(result));
}

Result<Arguments> parse_verify(const std::vector<std::string>& arguments) {
    VerifyArguments result;
    Strings strings;
    CLI::App app(
        "Reads a checkpoint whole: all ranks present and consistent, every CRC right. With --world-size=N or "
        "--view=NAME "
        "also that view:\n"
        "every element covered exactly once, every file readable by a second reader, every tensor equal to the "
        "source's.");
    add_source(app, strings);
    app.add_flag("--json", result.json, "Print JSON instead of text");
    app.add_option("--tag", strings.tag, "Verify this tag only")->type_name("NAME");
    const TargetOptions target(app, strings, "Also verify the view at N ranks", ViewOptionsParser::Tag::not_taken);
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, verify_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", verify_usage));
    CKPTFS_ASSIGN(result.target, target.parse());
    result.source = strings.source;
    result.tag = strings.tag;
    return Arguments(std::move(result));
}

Result<Arguments> parse_diff(const std::vector<std::string>& arguments) {
    DiffArguments result;
    Strings strings;
    CLI::App app(
        "Says in which parameters, states, counters and hyper-parameters two checkpoints differ, and by how much, "
        "whatever\n"
        "world sizes and stages they were saved at. Exit status 0 where they hold the same, 1 where they differ.");
    app.footer(
        "The largest differences come first; max abs is the largest |a - b|, max rel the largest |a - b| / max(|a|, "
        "|b|).\n"
        "A and B are directories of checkpoints, single tags of them, or mounts at a world size. With --view both are\n"
        "shown so first: --view=weights-bf16 compares the models as saved in bf16.");
    add_positional(app, "A", strings.source, "Directory of a checkpoint, or of one of its tags");
    add_positional(app, "B", strings.path, "Directory of the other");
    app.add_flag("--json", result.json, "Print JSON instead of text");
    const TargetOptions target(app, strings, "Compare what both are at N ranks", ViewOptionsParser::Tag::not_taken);
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, diff_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "A", diff_usage));
    CKPTFS_TRY(expect_given(strings.path, "B", diff_usage));
    CKPTFS_ASSIGN(result.target, target.parse());
    result.a = strings.source;
    result.b = strings.path;
    return Arguments(std::move(result));
}

Result<Arguments> parse_check(const std::vector<std::string>& arguments) {
    CheckArguments result;
    Strings strings;
    CLI::App app(
        "Says, before a GPU is allocated, whether a DeepSpeed config resumes the checkpoint at N ranks: what it must "
        "agree with and does not,\n"
        "and which micro batch and accumulation keep the global batch. Exit status 1 where it does not agree.");
    add_source(app, strings);
    app.add_flag("--json", result.json, "Print JSON instead of text");
    const TargetOptions target(app, strings, "Number of ranks that will resume", std::nullopt,
                               TargetOptions::SubGroupSize::of_config);
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, check_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", check_usage));
    CKPTFS_TRY(expect_given(strings.world_size + strings.dp_size, "--world-size", check_usage));
    CKPTFS_TRY(expect_given(strings.config_file, "--ds-config", check_usage));
    CKPTFS_ASSIGN(result.target, target.parse());
    result.source = strings.source;
    return Arguments(std::move(result));
}

/// Of `ls` and `cat`: SOURCE and a path in what is shown of it.
class ShownPathOptions {
 public:
    ShownPathOptions(CLI::App& app, Strings& strings, const char* path_description)
        : strings_(strings), shown_(app, strings) {
        add_source(app, strings);
        add_positional(app, "PATH", strings.path, path_description);
    }

    [[nodiscard]] Result<void> parse(ShownArguments& shown, std::string& path) const {
        CKPTFS_ASSIGN(shown, shown_.parse());
        path = strings_.path;
        return {};
    }

 private:
    const Strings& strings_;
    ShownOptions shown_;
};

Result<Arguments> parse_list(const std::vector<std::string>& arguments) {
    ListArguments result;
    Strings strings;
    CLI::App app(
        "Lists what a mount of SOURCE would show, without one: the names in its directory PATH, one a line, the root's "
        "without PATH.");
    app.add_flag("-l,--long", result.is_long, "With mode, size in bytes and time (UTC), and where links lead");
    app.add_flag("-R,--recursive", result.is_recursive, "And all that lies below, as paths");
    const ShownPathOptions options(app, strings, "Directory or file, as in the mount");
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, list_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", list_usage));
    CKPTFS_TRY(options.parse(result.shown, result.path));
    return Arguments(std::move(result));
}

Result<Arguments> parse_cat(const std::vector<std::string>& arguments) {
    CatArguments result;
    Strings strings;
    CLI::App app("Writes to standard output the bytes that the file PATH has in a mount of SOURCE, without a mount.");
    const ShownPathOptions options(app, strings, "File, as in the mount");
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, cat_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", cat_usage));
    CKPTFS_TRY(expect_given(strings.path, "PATH", cat_usage));
    CKPTFS_TRY(options.parse(result.shown, result.path));
    return Arguments(std::move(result));
}

constexpr std::size_t most_jobs = 256;
constexpr std::size_t most_jobs_unasked = 16;

/// Within which all buffers have to fit.
Result<void> parse_effort(const Strings& strings, ExportArguments& result) {
    result.jobs = threads_for_processors(most_jobs_unasked);
    if (!strings.jobs.empty()) {
        const auto count = parse_count(strings.jobs);
        if (!count || *count < 1 || *count > most_jobs) {
            return usage_error("--jobs is " + in_quotes(strings.jobs) + ", but must be a number of threads from 1 to " +
                               std::to_string(most_jobs));
        }
        result.jobs = *count;
    }
    const auto nbytes = parse_nbytes(strings.memory);
    if (!nbytes) {
        return usage_error("--memory: " + nbytes.error().message());
    }
    result.buffer_nbytes = *nbytes;
    if (exporting::buffer_nbytes(result.buffer_nbytes, result.jobs) == 0) {
        return usage_error("--memory is " + in_quotes(strings.memory) + ", which is too little for " +
                           counted(result.jobs, "thread") + ": each takes 64KiB at least; give more, or fewer --jobs");
    }
    return {};
}

Result<Arguments> parse_export(const std::vector<std::string>& arguments) {
    ExportArguments result;
    Strings strings;
    strings.memory = "64MiB";
    CLI::App app(
        "Writes the files of a view to DEST, which is nothing yet, or an empty directory: all that a mount would show, "
        "with true checksums.\n"
        "Until all is there, and on disk, it lies in DEST.partial. The same command goes on with what is there when "
        "one "
        "was ended.");
    add_source(app, strings);
    add_positional(app, "DEST", strings.path, "Directory to make");
    const TargetOptions target(app, strings, "Number of ranks to write the checkpoint for, 1 to 1,048,576",
                               ViewOptionsParser::Tag::not_taken);
    const auto* tag =
        app.add_option("--tag", strings.tag, "This tag alone; `latest` names it in DEST")->type_name("NAME");
    app.add_option("--jobs", strings.jobs, "Threads; as many as there are processors, but 16 at most, unless given")
        ->type_name("N");
    app.add_option("--memory", strings.memory, "For buffers, all threads together; 64MiB unless given")
        ->type_name("SIZE");
    app.add_flag("--verify", result.verify, "Read everything back from disk and compare it before it gets its name");
    app.add_flag("--quiet", result.quiet, "No progress, only the line at the end");
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, export_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", export_usage));
    CKPTFS_TRY(expect_given(strings.path, "DEST", export_usage));
    CKPTFS_ASSIGN(result.target, target.parse());
    if (!result.target.request) {
        return usage_error(std::string("an export takes one view, with --world-size, --dp-size or --view; usage: ") +
                           export_usage);
    }
    if (tag->count() > 0) {
        result.tag = strings.tag;
    }
    CKPTFS_TRY(parse_effort(strings, result));
    result.source = strings.source;
    result.destination = strings.path;
    return Arguments(std::move(result));
}

Result<Arguments> parse_help(const std::vector<std::string>& arguments);

struct Command {
    std::string_view name;
    Result<Arguments> (*parse)(const std::vector<std::string>& arguments);
};

// The program under the name that mount(8) calls, which is no command of its own.
constexpr Command mount_helper{"mount.ckptfs", parse_mount_helper};

constexpr std::array known_commands{
    Command{"run", parse_run},          Command{"inspect", parse_inspect}, Command{"verify", parse_verify},
    Command{"check", parse_check},      Command{"diff", parse_diff},       Command{"ls", parse_list},
    Command{"cat", parse_cat},          Command{"export", parse_export},   Command{"status", parse_status},
    Command{"list", parse_list_mounts}, Command{"umount", parse_unmount},  Command{"help", parse_help}};

const Command* find_command(std::string_view name) {
    const auto* const found = std::find_if(known_commands.begin(), known_commands.end(),
                                           [&](const Command& command) { return command.name == name; });
    if (found == known_commands.end()) {
        return name == mount_helper.name ? &mount_helper : nullptr;
    }
    return found;
}

CommandDescription description_of(const Command& command) {
    const auto parsed = command.parse({"--help"});
    CommandDescription described = std::get<Text>(*parsed).described;
    described.name = command.name;
    return described;
}

struct NamedDocument {
    std::string_view name;
    Document document;
};

constexpr std::array manuals{NamedDocument{"ckptfs", Document::manual},
                             NamedDocument{"mount.ckptfs", Document::mount_helper_manual}};
constexpr std::array completions{NamedDocument{"bash", Document::bash_completion},
                                 NamedDocument{"zsh", Document::zsh_completion}};

std::vector<std::string> names_in(const std::array<NamedDocument, 2>& documents) {
    return {std::string(documents[0].name), std::string(documents[1].name)};
}

Result<Arguments> find_document(const std::array<NamedDocument, 2>& documents, const char* option,
                                const std::string& name) {
    for (const NamedDocument& one : documents) {
        if (one.name == name) {
            return Arguments(DocumentArguments{one.document});
        }
    }
    return usage_error(std::string(option) + " is " + in_quotes(name) + ", but must be " +
                       joined(names_in(documents), " or "));
}

std::vector<std::string_view> command_names() {
    std::vector<std::string_view> names;
    names.reserve(known_commands.size());
    for (const Command& command : known_commands) {
        names.push_back(command.name);
    }
    return names;
}

Result<Arguments> parse_help(const std::vector<std::string>& arguments) {
    std::string name;
    CLI::App app("Says how COMMAND is used, as COMMAND --help does; without COMMAND, how to mount.");
    add_positional(app, "COMMAND", name, "One of the commands that `ckptfs --help` lists");
    std::optional<std::string> manual;
    std::optional<std::string> completion;
    app.add_option("--manual", manual, "Print a manual page instead, for `man -l -`")
        ->type_name(joined(names_in(manuals), "|"));
    app.add_option("--completion", completion, "Print a script instead that completes command lines in this shell")
        ->type_name(joined(names_in(completions), "|"));
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, help_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    if ((name.empty() ? 0 : 1) + (manual ? 1 : 0) + (completion ? 1 : 0) > 1) {
        return usage_error(std::string("COMMAND, --manual and --completion are three things to print; usage: ") +
                           help_usage);
    }
    if (manual) {
        return find_document(manuals, "--manual", *manual);
    }
    if (completion) {
        return find_document(completions, "--completion", *completion);
    }
    if (name.empty()) {
        return parse_mount({"--help"});
    }
    if (const Command* command = find_command(name)) {
        return command->parse({"--help"});
    }
    const auto names = command_names();
    return usage_error("there is no command " + in_quotes(name) + meant_command(name) + "; there are " +
                       joined({names.begin(), names.end()}, ", ") + "; usage: " + help_usage);
}

}  // namespace

std::vector<CommandDescription> describe_commands() {
    std::vector<CommandDescription> result{description_of({"", parse_mount})};
    result.front().notes = mount_notes;  // the rest of its footer is said of each command, and of all exit statuses
    for (const Command& command : known_commands) {
        result.push_back(description_of(command));
    }
    return result;
}

CommandDescription describe_mount_helper() {
    return description_of(mount_helper);
}

std::string meant_command(const std::string& word) {
    if (word.find('/') != std::string::npos) {
        return "";  // a path, however short
    }
    if (word == "mount") {  // which is nearly the opposite
        return " (mounting takes no command: ckptfs SOURCE MOUNTPOINT)";
    }
    const auto meant = nearest_word(word, command_names());
    return meant ? " (did you mean the command `ckptfs " + std::string(*meant) + "`?)" : "";
}

Result<Arguments> parse_arguments(const std::vector<std::string>& arguments) {
    if (arguments.empty()) {
        return parse_mount(arguments);
    }
    if (const Command* command = find_command(arguments.front())) {
        return command->parse({arguments.begin() + 1, arguments.end()});
    }
    auto parsed = parse_mount(arguments);
    if (!parsed) {
        return usage_error(parsed.error().message() + meant_command(arguments.front()));
    }
    return parsed;
}

Result<ShownArguments> parse_shown_options(const std::vector<std::string>& options) {
    Strings strings;
    CLI::App app("Options that say what is shown.");
    const ShownOptions shown(app, strings);
    CKPTFS_ASSIGN(const auto text, run_parser(app, options, shown_usage));
    if (text) {
        return usage_error(std::string("--help and --version say nothing of what is shown; usage: ") + shown_usage);
    }
    return shown.parse();
}

}  // namespace ckptfs::cli
