// None of them knows a SOURCE.
#include "cli/operator_arguments.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "cli/command_line.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* status_usage = "ckptfs status MOUNTPOINT [--json | --metrics | --log | --log-level=LEVEL]";
constexpr const char* list_mounts_usage = "ckptfs list [--json]";
constexpr const char* unmount_usage = "ckptfs umount MOUNTPOINT [--lazy | --stale]";

}  // namespace

Result<log::Level> parse_log_level(const std::string& text) {
    if (const auto level = log::level_called(text)) {
        return *level;
    }
    return usage_error("the level of the log is " + in_quotes(text) + ", but must be debug, info, warning or error");
}

Result<log::Format> parse_log_format(const std::string& text) {
    if (text == "text" || text == "json") {
        return text == "json" ? log::Format::json : log::Format::text;
    }
    return usage_error("--log-format is " + in_quotes(text) + ", but must be text or json");
}

Result<Arguments> parse_status(const std::vector<std::string>& arguments) {
    StatusArguments result;
    std::string level;
    bool json = false;
    bool metrics = false;
    bool log = false;
    CLI::App app(
        "Says how a mount fares: what it shows, requests, bytes, latencies, errors, memory and tags. The same is in "
        "MOUNTPOINT/.ckptfs,\nwhich no listing has. For the user who mounted, and root where --allow-other lets root "
        "in.");
    app.add_option("MOUNTPOINT", result.mount_point, "Where it is mounted")->type_name("");
    app.add_flag("--json", json, "Print JSON instead of text");
    app.add_flag("--metrics", metrics, "Print it as Prometheus reads it");
    app.add_flag("--log", log, "Print the last lines of its log, wherever that goes");
    const auto* set_level =
        app.add_option("--log-level", level, "Have its log hold debug, info, warning or error lines from now on")
            ->type_name("debug|info|warning|error");
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, status_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(result.mount_point, "MOUNTPOINT", status_usage));
    const bool sets_level = set_level->count() > 0;
    if (static_cast<int>(json) + static_cast<int>(metrics) + static_cast<int>(log) + static_cast<int>(sets_level) > 1) {
        return usage_error(
            std::string("--json, --metrics, --log and --log-level ask for different things; give one; usage: ") +
            status_usage);
    }
    if (sets_level) {
        CKPTFS_ASSIGN(result.log_level, parse_log_level(level));
    }
    using Shown = StatusArguments::Shown;
    result.shown = json ? Shown::json : metrics ? Shown::metrics : log ? Shown::log : Shown::text;
    return Arguments(std::move(result));
}

Result<Arguments> parse_list_mounts(const std::vector<std::string>& arguments) {
    ListMountsArguments result;
    CLI::App app(
        "Lists this machine's mounts of ckptfs that can be seen from here: mount point, view, state, user and source.");
    app.add_flag("--json", result.json, "Print JSON instead of text");
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, list_mounts_usage));
    return text ? Arguments(std::move(*text)) : Arguments(result);
}

Result<Arguments> parse_unmount(const std::vector<std::string>& arguments) {
    UnmountArguments result;
    CLI::App app(
        "Unmounts a mount of ckptfs, also one whose daemon is gone, and waits until the daemon has ended. As the user "
        "who mounted, or as root.");
    app.add_option("MOUNTPOINT", result.mount_point, "Where it is mounted")->type_name("");
    app.add_flag("--lazy", result.is_lazy,
                 "Take it away at once, and let the daemon end with the last user, without waiting for that");
    app.add_flag("--stale", result.only_stale,
                 "Take it away only if its daemon is gone; anything else there stays, and is no error");
    CKPTFS_ASSIGN(auto text, run_parser(app, arguments, unmount_usage));
    if (text) {
        return Arguments(std::move(*text));
    }
    CKPTFS_TRY(expect_given(result.mount_point, "MOUNTPOINT", unmount_usage));
    if (result.is_lazy && result.only_stale) {
        return usage_error(std::string("--stale waits for nobody, so --lazy says nothing more; give one; usage: ") +
                           unmount_usage);
    }
    return Arguments(std::move(result));
}

}  // namespace ckptfs::cli
