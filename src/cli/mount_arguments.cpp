// The command lines that mount: what -o holds, and the options of all of them.
#include "cli/mount_arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/command_line.h"
#include "cli/mount_options.h"
#include "cli/operator_arguments.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* mount_usage = "ckptfs SOURCE MOUNTPOINT [--world-size=N | --view=NAME] [-f] [-o OPTION,...]";
constexpr const char* run_usage =
    "ckptfs run SOURCE [--world-size=N|auto | --view=NAME] [--in-place] [-o OPTION,...] -- COMMAND [ARGUMENT...]";
constexpr const char* mount_helper_usage = "mount.ckptfs SOURCE MOUNTPOINT [-sfnv] [-o OPTION,...]";

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
        memory_ = app.add_option("--memory", strings.memory,
                                 "For all that is held of checkpoints, such as 2GB; without it a quarter of what the "
                                 "process may have")
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
        if (memory_->count() > 0) {
            const auto nbytes = parse_nbytes(strings_.memory);
            if (!nbytes) {
                return usage_error("--memory: " + nbytes.error().message());
            }
            result.memory_nbytes = *nbytes;
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
    const CLI::Option* memory_ = nullptr;
};

}  // namespace

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

}  // namespace ckptfs::cli
