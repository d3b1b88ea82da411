// Parsing with CLI11; its exceptions end here, and its messages are replaced where they are not clear.
#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <utility>

#include "ckptfs/version.h"
#include "cli/mount_options.h"
#include "cli/text.h"
#include "view/zero_tag.h"

namespace ckptfs::cli {
namespace {

constexpr const char* mount_usage = "ckptfs SOURCE MOUNTPOINT [--world-size=N] [-f] [-o OPTION,...]";
constexpr const char* inspect_usage = "ckptfs inspect SOURCE [--json] [--world-size=N]";
constexpr const char* verify_usage = "ckptfs verify SOURCE [--world-size=N] [--tag=NAME]";

constexpr const char* mount_description =
    "Mounts a DeepSpeed ZeRO checkpoint so that it can be resumed from at another world size.\n"
    "SOURCE is the directory that save_checkpoint was given: it holds tag directories and usually `latest`.\n"
    "Without --world-size the mount shows a directory world-size-<N>/ for every N.";

constexpr const char* mount_footer =
    "Other commands:\n"
    "  ckptfs inspect SOURCE [--json]            what the checkpoint is\n"
    "  ckptfs verify SOURCE [--world-size=N]     whether it is whole, and whether its view is right\n"
    "A SOURCE with the name of a command is written ./inspect or ./verify.\n\n"
    "Unmount with `fusermount3 -u MOUNTPOINT`.\n"
    "Exit status: 0 success, 1 verification found a problem, 2 usage, 3 not a checkpoint or weights only,\n"
    "4 incomplete, damaged or inconsistent, 5 unsupported layout, 6 mount point, 7 input/output, 70 a bug in ckptfs.";

/// What CLI11 fills in, before it is checked.
struct Strings {
    std::string source;
    std::string mount_point;
    std::string world_size;
    std::string config_file;
    std::string log_file;
    std::string io = "auto";
    std::string tag;
    std::string mount_options;
};

/// CLI11's help with a usage line of our own.
class UsageFormatter final : public CLI::Formatter {
 public:
    explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) { column_width(28); }

    std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
        return "\nUsage: " + usage_ + "\n";
    }

 private:
    std::string usage_;
};

Error usage_error(const std::string& message) {
    return {ErrorCode::invalid_argument, message};
}

/// Runs CLI11. An empty optional: parsed; a text: --help or --version.
Result<std::optional<Text>> run_parser(CLI::App& app, std::vector<std::string> arguments, const char* usage) {
    app.formatter(std::make_shared<UsageFormatter>(usage));
    app.set_help_flag("-h,--help", "Print this help and exit");
    app.set_version_flag("-V,--version", std::string("ckptfs ") + version);
    app.allow_extras();
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the end
    try {
        app.parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
        return std::optional(Text{app.help()});
    } catch (const CLI::CallForVersion&) {
        return std::optional(Text{std::string("ckptfs ") + version + "\n"});
    } catch (const CLI::ArgumentMismatch& failure) {
        const std::string text = failure.what();
        return usage_error("option " + text.substr(0, text.find(':')) +
                           " needs a value, and may be given once; usage: " + usage);
    } catch (const CLI::ParseError& failure) {
        return usage_error(printable(failure.what()) + "; usage: " + usage);
    }
    const std::vector<std::string> extras = app.remaining();
    if (extras.empty()) {
        return std::optional<Text>();
    }
    const std::string& extra = extras.front();
    const char* what = extra.starts_with("-") && extra.size() > 1 ? "unknown option " : "unexpected argument ";
    return usage_error(what + in_quotes(extra) + "; usage: " + usage);
}

Result<std::optional<std::uint64_t>> optional_world_size(const CLI::Option* option, const std::string& text) {
    if (option->count() == 0) {
        return std::optional<std::uint64_t>();
    }
    CKPTFS_ASSIGN(const auto world_size, parse_world_size(text));
    return std::optional(world_size);
}

Result<void> expect_given(const std::string& value, const char* name, const char* usage) {
    if (value.empty()) {
        return usage_error(std::string(name) + " is missing; usage: " + usage);
    }
    return {};
}

/// Replaces every -o by the options of ckptfs that it holds. Collects those for the kernel.
Result<std::vector<std::string>> expand_mount_options(const std::vector<std::string>& arguments,
                                                      std::vector<std::string>& kernel_options) {
    std::vector<std::string> options;
    std::vector<std::string> rest;
    for (std::size_t index = 0; index < arguments.size(); ++index) {
        const std::string& argument = arguments[index];
        if (argument == "--") {
            rest.insert(rest.end(), arguments.begin() + static_cast<std::ptrdiff_t>(index), arguments.end());
            break;
        }
        if (!argument.starts_with("-o")) {
            rest.push_back(argument);
            continue;
        }
        std::string list = argument.substr(2);
        if (list.empty()) {
            if (index + 1 == arguments.size()) {
                return usage_error(std::string("-o needs a list of options; usage: ") + mount_usage);
            }
            list = arguments[++index];
        }
        CKPTFS_ASSIGN(const auto words, split_mount_options(list));
        options.insert(options.end(), words.arguments.begin(), words.arguments.end());
        kernel_options.insert(kernel_options.end(), words.kernel_options.begin(), words.kernel_options.end());
    }
    options.insert(options.end(), rest.begin(), rest.end());
    return options;
}

Result<IoMode> parse_io_mode(const std::string& text) {
    static const std::map<std::string, IoMode> modes{
        {"auto", IoMode::automatic}, {"cached", IoMode::cached}, {"direct", IoMode::direct}};
    const auto mode = modes.find(text);
    if (mode == modes.end()) {
        return usage_error("--io is " + in_quotes(text) + ", but must be auto, cached or direct");
    }
    return mode->second;
}

CLI::Option* add_world_size(CLI::App& app, Strings& strings, const char* description) {
    return app.add_option("--world-size", strings.world_size, description)->type_name("N");
}

void add_config(CLI::App& app, Strings& strings) {
    app.add_option("--ds-config", strings.config_file,
                   "DeepSpeed config (JSON) of the run that will resume; its layout settings replace the stored ones")
        ->type_name("FILE");
}

Result<Arguments> parse_mount(const std::vector<std::string>& arguments) {
    MountArguments result;
    Strings strings;
    CLI::App app(mount_description);
    app.footer(mount_footer);
    app.add_option("SOURCE", strings.source, "Directory of the checkpoint")->type_name("");
    app.add_option("MOUNTPOINT", strings.mount_point, "Empty directory to mount on")->type_name("");
    const auto* world_size =
        add_world_size(app, strings, "Data-parallel world size to show the checkpoint at, 1 to 1,048,576");
    add_config(app, strings);
    app.add_flag("-f,--foreground", result.foreground, "Stay in the foreground, log to standard error");
    app.add_option("--log-file", strings.log_file, "Append the log to FILE (default: syslog)")->type_name("FILE");
    app.add_option("--io", strings.io, "auto, cached or direct: whether the page cache holds what is read")
        ->type_name("MODE");
    app.add_flag("--allow-other", result.allow_other, "Let other users into the mount");
    app.add_option("-o", strings.mount_options, "Any of these options as in fstab: -o world-size=4,allow-other")
        ->type_name("OPTION,...");
    CKPTFS_ASSIGN(auto expanded, expand_mount_options(arguments, result.kernel_options));
    CKPTFS_ASSIGN(auto text, run_parser(app, std::move(expanded), mount_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", mount_usage));
    CKPTFS_TRY(expect_given(strings.mount_point, "MOUNTPOINT", mount_usage));
    CKPTFS_ASSIGN(result.world_size, optional_world_size(world_size, strings.world_size));
    CKPTFS_ASSIGN(result.io, parse_io_mode(strings.io));
    result.source = strings.source;
    result.mount_point = strings.mount_point;
    result.config_file = strings.config_file;
    result.log_file = strings.log_file;
    return Arguments(std::move(result));
}

Result<Arguments> parse_inspect(const std::vector<std::string>& arguments) {
    InspectArguments result;
    Strings strings;
    CLI::App app(
        "Says what a checkpoint is: its tags, stage, world size, dtypes, optimizer, parameter groups and problems.");
    app.add_option("SOURCE", strings.source, "Directory of the checkpoint")->type_name("");
    app.add_flag("--json", result.json, "Print JSON instead of text");
    const auto* world_size = add_world_size(app, strings, "Also show how the ranks are re-cut for N ranks");
    add_config(app, strings);
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, inspect_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", inspect_usage));
    CKPTFS_ASSIGN(result.world_size, optional_world_size(world_size, strings.world_size));
    result.source = strings.source;
    result.config_file = strings.config_file;
    return Arguments(std::move(result));
}

Result<Arguments> parse_verify(const std::vector<std::string>& arguments) {
    VerifyArguments result;
    Strings strings;
    CLI::App app(
        "Reads a checkpoint whole: all ranks present and consistent, every CRC right. With --world-size=N also the "
        "view at N:\n"
        "every element covered exactly once, every file readable by libtorch, every parameter and state equal to the "
        "source's.");
    app.add_option("SOURCE", strings.source, "Directory of the checkpoint")->type_name("");
    app.add_option("--tag", strings.tag, "Verify this tag only")->type_name("NAME");
    const auto* world_size = add_world_size(app, strings, "Also verify the view at N ranks");
    add_config(app, strings);
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, verify_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(strings.source, "SOURCE", verify_usage));
    CKPTFS_ASSIGN(result.world_size, optional_world_size(world_size, strings.world_size));
    result.source = strings.source;
    result.config_file = strings.config_file;
    result.tag = strings.tag;
    return Arguments(std::move(result));
}

}  // namespace

Result<std::uint64_t> parse_world_size(std::string_view text) {
    const std::string range = "; give the number of data-parallel ranks, 1 to " + grouped(max_world_size);
    if (text.empty()) {
        return usage_error("the world size is empty" + range);
    }
    const bool negative = text.front() == '-';
    const std::string_view digits = text.substr(negative ? 1 : 0);
    if (digits.empty() || !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        return usage_error("the world size " + in_quotes(text) + " is not a whole number in decimal digits" + range);
    }
    if (negative) {
        return usage_error("the world size " + in_quotes(text) + " is negative" + range);
    }
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure != std::errc() || value > max_world_size) {
        return usage_error("the world size " + in_quotes(text) + " is too large" + range);
    }
    if (value == 0) {
        return usage_error("the world size is 0" + range);
    }
    return value;
}

Result<Arguments> parse_arguments(const std::vector<std::string>& arguments) {
    if (!arguments.empty() && arguments.front() == "inspect") {
        return parse_inspect({arguments.begin() + 1, arguments.end()});
    }
    if (!arguments.empty() && arguments.front() == "verify") {
        return parse_verify({arguments.begin() + 1, arguments.end()});
    }
    return parse_mount(arguments);
}

}  // namespace ckptfs::cli
