// Chooses the command and turns what came of it into an exit status, in one place.
#include "cli/run.h"

#include <cerrno>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

/// Runs the command that was chosen, and keeps why it failed.
struct Runner {
    const Environment& environment;
    std::optional<Error>& failed;

    StartReport operator()(const MountArguments& arguments) {
        return environment.mount_and_serve ? mount_or_say_what_was_meant(arguments) : refuse();
    }
    StartReport operator()(const RunArguments& arguments) {
        return environment.mount_and_serve ? run_with_view(arguments, environment) : refuse();
    }
    StartReport operator()(const InspectArguments& arguments) { return report(inspect(arguments, environment)); }
    StartReport operator()(const VerifyArguments& arguments) { return report(verify(arguments, environment)); }
    StartReport operator()(const CheckArguments& arguments) { return report(check(arguments, environment)); }
    StartReport operator()(const DiffArguments& arguments) { return diff_sources(arguments, environment, failed); }
    StartReport operator()(const ListArguments& arguments) { return report(list(arguments, environment)); }
    StartReport operator()(const CatArguments& arguments) { return report(concatenate(arguments, environment)); }
    StartReport operator()(const ExportArguments& arguments) { return export_view(arguments, environment, failed); }
    StartReport operator()(const DocumentArguments& arguments) { return report(print(arguments, environment)); }
    StartReport operator()(const StatusArguments& arguments) { return report(show_status(arguments, environment)); }
    StartReport operator()(const ListMountsArguments& arguments) { return report(list_mounts(arguments, environment)); }
    StartReport operator()(const UnmountArguments& arguments) { return report(unmount(arguments, environment)); }
    StartReport operator()(const Text& text) {
        environment.out << text.text;
        return {};
    }

    /// A command that is mistyped is a SOURCE that is not there.
    StartReport mount_or_say_what_was_meant(const MountArguments& arguments) {
        StartReport report = mount(arguments, environment);
        std::error_code ignored;
        if (report.exit_code == status_of(ExitCode::not_a_checkpoint) &&
            !std::filesystem::exists(environment.working_directory / arguments.source, ignored)) {
            report.message += meant_command(arguments.source);
        }
        return report;
    }
    StartReport refuse() {
        return report(Error(ErrorCode::invalid_argument,
                            "this command mounts, which is not done within another program: run `ckptfs` for it"));
    }
    StartReport report(const Result<void>& result) {
        if (!result) {
            failed = result.error();
        }
        return report_of(result);
    }
};

StartReport run_command(const std::vector<std::string>& arguments, const Environment& environment,
                        std::optional<Error>& failed) {
    Runner runner{environment, failed};
    const auto parsed = parse_arguments(arguments);
    if (!parsed) {
        return runner.report(parsed.error());
    }
    StartReport report = std::visit(runner, *parsed);
    if (!environment.out.flush() && report.exit_code == 0) {
        return runner.report(
            Error(ErrorCode::io, "standard output cannot be written: what it holds is cut short", EIO));
    }
    return report;
}

}  // namespace

StartReport report_of(const Result<void>& result) {
    if (result) {
        return {};
    }
    return {status_of(exit_code_of(result.error().code())), result.error().message(), 0};
}

Result<void> without_exceptions(const std::function<Result<void>()>& body) noexcept {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        return Error(ErrorCode::io, "no memory is left: raise the limit (ulimit -v, memory.max of the cgroup)", ENOMEM);
    } catch (const std::system_error& failure) {
        return Error(ErrorCode::io,
                     std::string("the system refuses a thread or another resource: ") + failure.what() +
                         "; raise the limit on processes (ulimit -u, pids.max of the cgroup)",
                     failure.code().value());
    } catch (const std::exception& failure) {
        return Error(ErrorCode::internal, std::string("a bug, please report it: ") + failure.what());
    }
}

int run(const std::vector<std::string>& arguments, const Environment& environment,
        std::optional<Error>* failed) noexcept {
    StartReport report;
    std::optional<Error> error;
    const auto finished = without_exceptions([&]() -> Result<void> {
        report = run_command(arguments, environment, error);
        return {};
    });
    if (!finished) {
        error = finished.error();
        report = report_of(finished);
    }
    if (failed != nullptr) {
        *failed = std::move(error);
    }
    if (report.signal != 0) {
        ::raise(report.signal);  // who is to end by a signal is seen to
    }
    if (!report.message.empty()) {  // a command that was run says itself why it failed
        environment.error << "ckptfs: " << printable(report.message) << '\n' << std::flush;
    }
    return report.exit_code;
}

}  // namespace ckptfs::cli
