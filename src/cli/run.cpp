// Chooses the command and turns what came of it into an exit status, in one place.
#include "cli/run.h"

#include <cerrno>
#include <csignal>
#include <exception>
#include <new>
#include <ostream>
#include <string>
#include <system_error>
#include <variant>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

struct Runner {
    const Environment& environment;

    StartReport operator()(const MountArguments& arguments) const {
        return environment.mount_and_serve ? mount(arguments, environment) : refused();
    }
    StartReport operator()(const InspectArguments& arguments) const {
        return report_of(inspect(arguments, environment));
    }
    StartReport operator()(const VerifyArguments& arguments) const { return report_of(verify(arguments, environment)); }
    StartReport operator()(const CheckArguments& arguments) const { return report_of(check(arguments, environment)); }
    StartReport operator()(const RunArguments& arguments) const {
        return environment.mount_and_serve ? run_with_view(arguments, environment) : refused();
    }
    StartReport operator()(const Text& text) const {
        environment.out << text.text;
        return {};
    }

    static StartReport refused() {
        return report_of(Error(ErrorCode::invalid_argument,
                               "this command mounts, which is not done within another program: run `ckptfs` for it"));
    }
};

StartReport run_command(const std::vector<std::string>& arguments, const Environment& environment) {
    const auto parsed = parse_arguments(arguments);
    if (!parsed) {
        return report_of(parsed.error());
    }
    StartReport report = std::visit(Runner{environment}, *parsed);
    if (!environment.out.flush() && report.exit_code == 0) {
        return report_of(Error(ErrorCode::io, "standard output cannot be written: what it holds is cut short", EIO));
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

int run(const std::vector<std::string>& arguments, const Environment& environment) noexcept {
    StartReport report;
    const auto finished = without_exceptions([&]() -> Result<void> {
        report = run_command(arguments, environment);
        return {};
    });
    if (!finished) {
        report = report_of(finished);
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
