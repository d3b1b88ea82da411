// One command line for each command.
#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/command_line.h"
#include "cli/mount_options.h"
#include "cli/operator_arguments.h"
#include "export/export.h"
#include "util/nearest_word.h"
#include "util/parallel.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* mount_usage = "ckptfs SOURCE MOUNTPOINT [--world-size=N | --view=NAME] [-f] [-o OPTION,...]";
constexpr const char* run_usage =
    "ckptfs run SOURCE [--world-size=N|auto | --view=NAME] [--in-place] [-o OPTION,...] -- COMMAND [ARGUMENT...]";
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
constexpr const char* mount_helper_usage = "mount.ckptfs SOURCE MOUNTPOINT [-sfnv] [-o OPTION,...]";
constexpr const char* shown_usage = "[--world-size=N | --view=NAME] and options that go with them";
constexpr const char* check_usage = "ckptfs check SOURCE --world-size=N --ds-config=FILE [--json]";

constexpr const char* mount_description =
    "Mounts a DeepSpeed ZeRO checkpoint in another form: at another world size, or as weights without a conversion.\n"
    "SOURCE is the directory that save_checkpoint was given: it holds tag directories and usually `latest`.\n"
    "Without --world-size and --view the mount shows a directory for each view: world-size-<N>/, weights/ and others.";

constexpr const char* mount_footer_commands =
    "Other commands:\n"
    "  ckptfs run SOURCE -- COMMAND              mounts for as long as COMMAND runs\n"
    "  ckptfs run --in-place SOURCE --world-size=N -- COMMAND\n"
    "                                            shows SOURCE so, in its own place and writable, to COMMAND alone\n"
    "  ckptfs inspect SOURCE [--json]            what the checkpoint is\n"
    "  ckptfs verify SOURCE [--world-size=N]     whether it is whole, and whether its view is right\n"
    "  ckptfs check SOURCE --world-size=N --ds-config=FILE\n"
    "                                            whether that config resumes it, and which batch sizes keep the batch\n"
    "  ckptfs diff A B                           in which tensors and numbers two checkpoints differ, and by how much\n"
    "  ckptfs ls SOURCE [PATH] [-l], ckptfs cat SOURCE PATH\n"
    "                                            what a mount would show, without one\n"
    "  ckptfs export SOURCE DEST --world-size=N  writes the files of a view out: a copy that needs no mount\n"
    "  ckptfs list                               which mounts there are\n"
    "  ckptfs status MOUNTPOINT                  how a mount fares\n"
    "  ckptfs umount MOUNTPOINT [--lazy|--stale] unmounts, and waits for the daemon's end\n"
    "  ckptfs help [COMMAND]                     how a command is used: what COMMAND --help says\n";

constexpr const char* mount_notes =
    "A SOURCE with the name of a command is written with ./ in front, such as ./run. One that begins with a dash "
    "stands\n"
    "behind `--`, which ends the options: ckptfs inspect -- -run.\n\n"
    "With --writable MOUNTPOINT may be SOURCE itself. /dev/fd/N is a descriptor of /dev/fuse that was inherited, and\n"
    "that somebody else has mounted: ckptfs serves it, and needs no right to mount.\n"
    "Unmount with `ckptfs umount MOUNTPOINT`, or `fusermount3 -u MOUNTPOINT`.\n";

constexpr const char* mount_exit_status =
    "Exit status: 0 success, 1 verify or check found a problem, diff a difference, 2 usage, 3 not a checkpoint or "
    "weights only,\n"
    "4 incomplete, damaged or inconsistent, 5 unsupported layout, 6 mount point, 7 input/output, 70 a bug in ckptfs.";

constexpr const char* mount_helper_description =
    "Mounts a checkpoint for mount(8): what `mount -t ckptfs SOURCE MOUNTPOINT -o OPTION,...` and /etc/fstab call.\n"
    "Every option is taken as --NAME=VALUE and, behind -o, as NAME=VALUE, with `-` or `_` in names.";

constexpr const char* mount_helper_notes =
    "Within -o the last of two counts, as for mount(8), and words that speak to mount(8), systemd or the kernel are "
    "ignored. Outside of -o an option is given once.\n"
    "The mount is known to `mount -a`, to umount(8) and in /proc/mounts by SOURCE, with the type fuse.ckptfs.";

constexpr const char* run_description =
    "Mounts a checkpoint, runs COMMAND with `{}` in its arguments replaced by the mount (also in CKPTFS_VIEW; `{{}}` "
    "is `{}` itself), and unmounts.\n"
    "Signals and the exit status pass through. Processes of one machine that ask for the same view share one mount.\n"
    "--world-size=auto takes WORLD_SIZE, else SLURM_NTASKS, else the number of visible GPUs.\n"
    "Without --world-size and --view the mount shows a directory for each view: world-size-<N>/, weights/ and others.\n"
    "--in-place: COMMAND alone sees SOURCE re-cut, and writes it, where it always was; it is made if it is not there.";

constexpr const char* run_footer =
    "Exit status: COMMAND's; 128+n if signal n ended it; 126 if it cannot be run, 127 if there is none.\n"
    "What keeps ckptfs itself from mounting has the exit status of `ckptfs --help`, and a line `ckptfs: ...`.";

/// What stands in its place on the command line, in the order in which it is added.
void add_positional(CLI::App& app, const char* name, std::string& value, const char* description) {
    app.add_option(name, value, description)->type_name("");
}

void add_source(CLI::App& app, Strings& strings) {
    add_positional(app, "SOURCE", strings.source, "Directory of the checkpoint");
}

/// Replaces every -o by the options of ckptfs that it holds. `others`: collects what else stands there.
/// `flags`: letters of options without a value, which may stand in one word with each other and with -o. An `s` among
/// them has words skipped that nobody knows.
Result<std::vector<std::string>> expand_mount_options(const std::vector<std::string>& arguments,
                                                      MountOptionWords& others, std::string_view flags = "f") {
    std::vector<std::string> lists;
    std::vector<std::string> rest;
    bool skips_unknown = false;
    for (std::size_t index = 0; index < arguments.size(); ++index) {
        const std::string& argument = arguments[index];
        if (argument == "--") {
            rest.insert(rest.end(), arguments.begin() + static_cast<std::ptrdiff_t>(index), arguments.end());
            break;
        }
        // -fo LIST is -f -o LIST.
        const std::size_t letter =
            argument.starts_with("-") ? std::min(argument.find_first_not_of(flags, 1), argument.size()) : 0;
        const std::string given = argument.substr(0, letter);
        skips_unknown = skips_unknown || given.find('s') != std::string::npos;
        if (letter == 0 || letter == argument.size() || argument[letter] != 'o') {
            rest.push_back(argument);
            continue;
        }
        if (given != "-") {
            rest.push_back(given);
        }
        std::string list = argument.substr(letter + 1);
        if (list.empty()) {
            if (index + 1 == arguments.size()) {
                return usage_error(std::string("-o needs a list of options; usage: ") + mount_usage);
            }
            list = arguments[++index];
        }
        lists.push_back(std::move(list));
    }
    std::vector<std::string> options;
    for (const std::string& list : lists) {
        CKPTFS_ASSIGN(const auto words, split_mount_options(list, skips_unknown));
        options.insert(options.end(), words.arguments.begin(), words.arguments.end());
        others.kernel_options.insert(others.kernel_options.end(), words.kernel_options.begin(),
                                     words.kernel_options.end());
        others.read_only = others.read_only || words.read_only;
    }
    others.kernel_options = last_of_each(others.kernel_options);
    options = last_of_each(options);
    options.insert(options.end(), rest.begin(), rest.end());
    return options;
}

constexpr std::array<std::pair<std::string_view, IoMode>, 3> io_modes{
    {{"auto", IoMode::automatic}, {"cached", IoMode::cached}, {"direct", IoMode::direct}}};

Result<IoMode> parse_io_mode(const std::string& text) {
    for (const auto& [name, mode] : io_modes) {
        if (text == name) {
            return mode;
        }
    }
    return usage_error("--io is " + in_quotes(text) + ", but must be auto, cached or direct");
}

/// What all commands that mount take.
class MountingOptions {
 public:
    MountingOptions(CLI::App& app, Strings& strings)
        : strings_(strings),
          target_(app, strings, "Number of ranks to show the checkpoint at, 1 to 1,048,576",
                  ViewOptionsParser::Tag::current_one) {
        app.add_option("--log-file", strings.log_file, "Append the log to FILE (default: syslog)")->type_name("FILE");
        app.add_option("--log-format", strings.log_format, "How lines of the log look")->type_name("text|json");
        app.add_option("--log-level", strings.log_level, "The least grave lines that the log has")
            ->type_name("debug|info|warning|error");
        app.add_option("--io", strings.io, "Whether the page cache holds what is read")
            ->type_name(choices_in(io_modes));
        read_ahead_memory_ =
            app.add_option("--read-ahead-memory", strings.read_ahead_memory,
                           "Of files that are read in order: bytes to hold of what comes next, such as "
                           "256MB; 0: none")
                ->type_name("SIZE");
        app.add_flag("--allow-empty", strings.allow_empty,
                     "Mount even while SOURCE holds no whole checkpoint: some may come");
        app.add_flag("--writable", strings.writable,
                     "Write into SOURCE what is written in the mount (with a world size)");
        app.add_option("-o", strings.mount_options, "Any of these options as in fstab: -o world-size=4,io=direct")
            ->type_name("OPTION,...");
    }

    /// `words`: what -o holds besides these options.
    [[nodiscard]] Result<void> parse(MountArguments& result, MountOptionWords words, bool may_be_of_job) const {
        CKPTFS_ASSIGN(result.target, target_.parse(may_be_of_job));
        CKPTFS_ASSIGN(result.io, parse_io_mode(strings_.io));
        if (read_ahead_memory_->count() > 0) {
            const bool is_none = strings_.read_ahead_memory == "0";
            const auto nbytes = is_none ? Result<std::uint64_t>(0) : parse_nbytes(strings_.read_ahead_memory);
            if (!nbytes) {
                return usage_error("--read-ahead-memory: " + nbytes.error().message() + "; 0 reads nothing ahead");
            }
            result.read_ahead_nbytes = *nbytes;
        }
        result.source = strings_.source;
        result.mount_point = strings_.mount_point;
        result.log_file = strings_.log_file;
        CKPTFS_ASSIGN(result.log_format, parse_log_format(strings_.log_format));
        CKPTFS_ASSIGN(result.log_level, parse_log_level(strings_.log_level));
        result.writable = strings_.writable || result.in_place;
        result.allow_empty = strings_.allow_empty || result.writable;
        result.kernel_options = std::move(words.kernel_options);
        const std::string asked_by = result.in_place ? "--in-place" : "--writable";
        if (result.writable && words.read_only) {
            return usage_error("-o ro and " + asked_by + " contradict each other; give one of them");
        }
        if (result.writable && !result.target.world_size() && !result.target.of_job) {
            return usage_error(asked_by +
                               " takes a world size: what is saved is that of a job of so many ranks; give "
                               "--world-size=N or --dp-size=D");
        }
        return {};
    }

 private:
    const Strings& strings_;
    TargetOptions target_;
    const CLI::Option* read_ahead_memory_ = nullptr;
};

Result<Arguments> parse_mount(const std::vector<std::string>& arguments) {
    MountArguments result;
    Strings strings;
    CLI::App app(mount_description);
    app.footer(std::string(mount_footer_commands) + mount_notes + mount_exit_status);
    add_source(app, strings);
    add_positional(app, "MOUNTPOINT", strings.mount_point, "Empty directory to mount on, or /dev/fd/N");
    const MountingOptions options(app, strings);
    app.add_flag("-f,--foreground", result.foreground, "Stay in the foreground, log to standard error");
    app.add_flag("--allow-other", result.allow_other, "Let other users into the mount");
    MountOptionWords words;
    CKPTFS_ASSIGN(auto expanded, expand_mount_options(arguments, words));
    CKPTFS_ASSIGN(auto text, run_parser(app, std::move(expanded), mount_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", mount_usage));
    CKPTFS_TRY(expect_given(strings.mount_point, "MOUNTPOINT", mount_usage));
    CKPTFS_TRY(options.parse(result, std::move(words), false));
    return Arguments(std::move(result));
}

// What mount(8) calls as /sbin/mount.ckptfs: its own letters, of which -f is not that of the mount, and all else.
Result<Arguments> parse_mount_helper(const std::vector<std::string>& arguments) {
    MountArguments result;
    Strings strings;
    bool is_sloppy = false;
    bool is_fake = false;
    bool writes_no_table = false;
    bool is_verbose = false;
    std::string type;
    std::string mount_namespace;
    CLI::App app(mount_helper_description);
    app.footer(mount_helper_notes);
    add_source(app, strings);
    add_positional(app, "MOUNTPOINT", strings.mount_point, "Empty directory to mount on");
    const MountingOptions options(app, strings);
    app.add_flag("--foreground", result.foreground, "Stay in the foreground, log to standard error");
    app.add_flag("--allow-other", result.allow_other, "Let other users into the mount");
    app.add_flag("-s", is_sloppy, "Ignore words behind -o that nobody knows");
    app.add_flag("-f", is_fake, "Check the command line, and do not mount");
    app.add_flag("-n", writes_no_table, "Of mount(8), and without effect: there is no table to write");
    app.add_flag("-v", is_verbose, "Of mount(8), and without effect");
    app.add_option("-t", type, "The type that mount(8) was given")->type_name("TYPE");
    const auto* enters_namespace =
        app.add_option("-N", mount_namespace, "Of mount(8), and refused: enter the mount namespace first, with nsenter")
            ->type_name("NAMESPACE");
    MountOptionWords words;
    CKPTFS_ASSIGN(auto expanded, expand_mount_options(arguments, words, "sfnv"));
    CKPTFS_ASSIGN(auto text, run_parser(app, std::move(expanded), mount_helper_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    if (enters_namespace->count() > 0) {
        return usage_error("-N " + in_quotes(mount_namespace) +
                           ": ckptfs mounts in its own mount namespace alone; enter the other one first: nsenter "
                           "--mount=FILE mount -t ckptfs SOURCE MOUNTPOINT, where FILE is such as /proc/PID/ns/mnt");
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", mount_helper_usage));
    CKPTFS_TRY(expect_given(strings.mount_point, "MOUNTPOINT", mount_helper_usage));
    CKPTFS_TRY(options.parse(result, std::move(words), false));
    return is_fake ? Arguments(Text()) : Arguments(std::move(result));
}

Result<Arguments> parse_run(const std::vector<std::string>& arguments) {
    RunArguments result;
    Strings strings;
    CLI::App app(run_description);
    app.footer(run_footer);
    add_source(app, strings);
    const MountingOptions options(app, strings);
    app.add_flag("--in-place", result.mount.in_place,
                 "Show the view, writable, to COMMAND alone in the place of SOURCE, which is made if need be");
    const auto end_of_options = std::find(arguments.begin(), arguments.end(), "--");
    MountOptionWords words;
    CKPTFS_ASSIGN(auto expanded, expand_mount_options({arguments.begin(), end_of_options}, words));
    if (end_of_options != arguments.end()) {
        auto command = end_of_options + 1;
        // OPTION... -- SOURCE -- COMMAND: the first `--` ends the options alone.
        if (arguments.end() - command > 1 && command[1] == "--" && !has_positional(app, expanded)) {
            expanded.insert(expanded.end(), {"--", *command});
            command += 2;
        }
        result.command.assign(command, arguments.end());
    }
    CKPTFS_ASSIGN(auto text, run_parser(app, std::move(expanded), run_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", run_usage));
    if (result.command.empty() || result.command.front().empty()) {
        return usage_error(
            std::string("COMMAND, after `--`, is missing (a SOURCE of the name run is written ./run); usage: ") +
            run_usage);
    }
    CKPTFS_TRY(options.parse(result.mount, std::move(words), true));
    return Arguments(std::move(result));
}

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
