// ckptfs SOURCE MOUNTPOINT: opens SOURCE, and hands what is shown of it over to the mount.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <ostream>
#include <utility>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/mount_status.h"
#include "cli/shown.h"
#include "cli/view_options.h"
#include "host/handed_over.h"
#include "host/job_signals.h"
#include "host/mount_point.h"
#include "util/log.h"
#include "util/memory_budget.h"
#include "util/own_names.h"
#include "util/text.h"
#include "view/zero_tag.h"

namespace ckptfs::cli {
namespace {

Result<LogTarget> start_log(const MountArguments& arguments, const Environment& environment) {
    log::set_level(arguments.log_level);
    const bool is_json = arguments.log_format == log::Format::json;
    if (!arguments.log_file.empty()) {
        CKPTFS_TRY(log::to_file(arguments.log_file, arguments.log_format));
        return LogTarget{.name = arguments.log_file, .is_json = is_json};
    }
    if (arguments.foreground) {
        log::to_stderr(arguments.log_format);
        return LogTarget{.name = "standard error", .is_json = is_json};
    }
    const bool is_read = environment.log_to_syslog(arguments.log_format);
    return LogTarget{.name = "syslog", .is_read = is_read, .is_json = is_json};
}

/// Whether the mount point is SOURCE itself, under whatever name.
bool is_covered(const MountArguments& arguments) {
    std::error_code no_directory;
    return !descriptor_of(arguments.mount_point) &&
           std::filesystem::equivalent(arguments.source, arguments.mount_point, no_directory);
}

/// A mount that works is not given up because nobody can be told.
void tell_service_manager(const Environment& environment, std::string_view state) {
    if (const auto socket = environment.variable("NOTIFY_SOCKET")) {
        if (const auto told = environment.tell_service_manager(*socket, state); !told) {
            log::warn(told.error().message());
        }
    }
}

class Mounting {
 public:
    Mounting(const MountArguments& arguments, const Environment& environment, MountEnds ends)
        : arguments_(arguments), environment_(environment), ends_(ends) {}

    Result<void> run(const std::function<void()>& ready) {
        MemoryBudget::limit_process(arguments_.memory_nbytes.value_or(0));
        CKPTFS_ASSIGN(const LogTarget log_target, start_log(arguments_, environment_));
        const bool has_log_file = !arguments_.log_file.empty();
        const JobSignalLog job_signals(has_log_file ? HangUp::reopens_log : HangUp::ends);
        const auto counters = std::make_shared<RequestCounters>();
        CKPTFS_ASSIGN(const auto target, read_view_options(arguments_.target));
        const MountOptions options{.source = arguments_.source,
                                   .mount_point = arguments_.mount_point,
                                   .descriptor = descriptor_of(arguments_.mount_point),
                                   .io = arguments_.io,
                                   .allow_other = arguments_.allow_other,
                                   .writable = arguments_.writable,
                                   .in_place = arguments_.writable && is_covered(arguments_),
                                   .ends_by_own_signals = ends_ == MountEnds::by_own_signals,
                                   .outlives_hang_up = has_log_file,
                                   .counters = counters,
                                   .kernel_options = arguments_.kernel_options};
        if (options.descriptor) {  // SOURCE, looked into through a mount that nobody serves yet, would not answer
            CKPTFS_TRY(environment_.check_mount_point(options));
        }
        CKPTFS_ASSIGN(const auto opened, open_source());
        if (!options.descriptor) {
            CKPTFS_TRY(environment_.check_mount_point(options));
        }
        const std::shared_ptr<const TagReader> reader = view::zero_tag_reader(target);
        warn_of_own_name(*opened.source);
        bool has_tags = true;
        const ShowOptions shown{.shown = {arguments_.source, arguments_.target, arguments_.allow_empty},
                                // What was mounted may let others in, whatever this command line says.
                                .allow_other = arguments_.allow_other || options.descriptor,
                                .in_place = arguments_.in_place,
                                .read_ahead = std::make_shared<ReadAhead>(read_ahead_options()),
                                .own_files = own_files(facts_of(options, log_target), counters),
                                .on_no_tag = [&has_tags] { has_tags = false; }};
        CKPTFS_ASSIGN(const auto file_system,
                      show(opened, reader, shown, [this](const std::string& message) { warn(message); }));
        auto served = environment_.mount_and_serve(*file_system, options, [&] {
            log::info((options.descriptor ? "serving " + arguments_.source + " on " + name_of_mount(options)
                                          : "mounted " + arguments_.source + " on " + arguments_.mount_point));
            if (!has_tags) {
                note(begins_anew());
            }
            // The standard error of a COMMAND is its own.
            if (!log_target.is_read && ends_ == MountEnds::by_signals && environment_.is_first_time("no-syslog")) {
                environment_.error << "ckptfs: warning: there is no syslog here (/dev/log): of the log of a mount only "
                                      "the last lines are kept, for `ckptfs status --log MOUNTPOINT`; name a file for "
                                      "all of it with --log-file=FILE (this is said once)\n"
                                   << std::flush;
            }
            ready();
        });
        log::flush_held_back();
        return served;
    }

 private:
    [[nodiscard]] Result<WritableSource> open_source() const {
        if (arguments_.writable) {
            return open_writable_checkpoint(environment_, arguments_.source, arguments_.in_place);
        }
        CKPTFS_ASSIGN(auto source, open_checkpoint(environment_, arguments_.source));
        return WritableSource{std::move(source), nullptr};
    }

    [[nodiscard]] ReadAheadOptions read_ahead_options() const {
        auto options = ReadAheadOptions::usual();
        // The rest is for what cannot be done without.
        constexpr std::uint64_t share = 4;
        options.memory_nbytes = arguments_.read_ahead_nbytes.value_or(
            std::min(options.memory_nbytes, MemoryBudget::of_process().limit() / share));
        return options;
    }

    [[nodiscard]] MountFacts facts_of(const MountOptions& options, const LogTarget& log_target) const {
        const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
        return {.source = options.source,
                .mount_point = options.mount_point,
                .view = arguments_.target.request ? arguments_.target.request->name() : "catalogue",
                .writable = options.writable,
                .in_place = options.in_place,
                .allow_other = options.allow_other,
                .log = log_target,
                .started_s = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count(),
                .user = ::geteuid(),
                .daemon = this_process()};
    }

    /// SOURCE's own entry of that name is shown, rather than what the mount says of itself.
    void warn_of_own_name(const Source& source) {
        const std::string name(own_directory_name);
        if (arguments_.target.request && source.stat(name)) {
            warn(in_quotes(source.display(name)) +
                 " is shown as it is: this mount's own directory of that name is not to be seen; `ckptfs status` "
                 "works all the same");
        }
    }

    /// A mistyped SOURCE looks like that of a first run, which is none to be warned of.
    [[nodiscard]] std::string begins_anew() const {
        return in_quotes(arguments_.source) +
               (arguments_.source_is_new
                    ? " was not there and has been made: there is nothing to resume from, the job begins anew"
                    : " holds no ZeRO checkpoint: a job that is to resume from one there begins anew");
    }

    void note(const std::string& message) {
        log::info(message);
        tell(message);
    }

    void warn(const std::string& message) {
        log::warn(message);
        tell("warning: " + message);
    }

    /// In front of whoever waits for the shell's prompt.
    void tell(const std::string& message) {
        if (!arguments_.foreground) {
            environment_.error << "ckptfs: " << printable(message) << '\n' << std::flush;
        }
    }

    const MountArguments& arguments_;
    const Environment& environment_;
    MountEnds ends_;
};

}  // namespace

// A daemon's working directory is "/".
Result<MountArguments> with_absolute_paths(MountArguments arguments, const std::filesystem::path& working_directory) {
    for (std::string* path :
         {&arguments.source, &arguments.mount_point, &arguments.target.config_file, &arguments.log_file}) {
        if (!path->empty()) {
            CKPTFS_ASSIGN(*path, absolute_path(*path, working_directory));
        }
    }
    return arguments;
}

Result<void> serve_mount(const MountArguments& arguments, const Environment& environment, MountEnds ends,
                         const std::function<void()>& ready) {
    return without_exceptions([&] { return Mounting(arguments, environment, ends).run(ready); });
}

StartReport mount(const MountArguments& arguments, const Environment& environment) {
    block_job_signals();
    const auto with_paths = with_absolute_paths(arguments, environment.working_directory);
    if (!with_paths) {
        return report_of(with_paths.error());
    }
    MountArguments absolute = *with_paths;
    if (absolute.writable && is_covered(absolute)) {
        const auto path = real_path(absolute.mount_point);
        if (!path) {
            return report_of(path.error());
        }
        absolute.in_place = true;
        absolute.source = *path;  // that it is the mount point tells such a mount from others
    }
    if (absolute.foreground) {
        // Of a service: systemd waits for a mount that answers, with Type=notify.
        const auto result = serve_mount(absolute, environment, MountEnds::by_signals,
                                        [&] { tell_service_manager(environment, "READY=1"); });
        tell_service_manager(environment, "STOPPING=1");
        return report_of(result);
    }
    const auto body = [&](const std::function<void()>& ready) {
        std::atomic<bool> is_ready = false;
        const auto result = serve_mount(absolute, environment, MountEnds::by_signals, [&] {
            is_ready = true;
            ready();
        });
        if (!result && is_ready) {
            log::error(result.error().message());
        }
        return report_of(result);
    };
    return environment.daemonise(body, start_exit_codes, descriptor_of(absolute.mount_point));
}

}  // namespace ckptfs::cli
