// fork, exec and a loop over signals that are taken synchronously: no handlers, no races with the child's end.
#include "share/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>

#include "io/unique_fd.h"
#include "util/text.h"

namespace ckptfs::share {
namespace {

constexpr int first_inherited = 100;
constexpr std::size_t longest_message = PIPE_BUF - 64;  // what is written at once is read at once

constexpr std::array<int, 7> forwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& added) {
    std::vector<std::string> result;
    for (char** at = ::environ; *at != nullptr; ++at) {
        const std::string_view entry = *at;
        const std::string_view name = entry.substr(0, entry.find('='));
        if (std::none_of(added.begin(), added.end(), [&](const auto& item) { return item.first == name; })) {
            result.emplace_back(entry);
        }
    }
    for (const auto& [name, value] : added) {
        result.push_back(name);
        result.back().append("=").append(value);
    }
    return result;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> result;
    result.reserve(texts.size() + 1);
    for (std::string& text : texts) {
        result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
}

/// Where a program may lie, in the order in which execvp() would look.
std::vector<std::string> candidates(const std::string& name) {
    if (name.empty() || name.find('/') != std::string::npos) {
        return {name};
    }
    const char* const path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody sets any
    std::vector<std::string> result;
    std::string_view rest = path == nullptr ? "/bin:/usr/bin" : path;
    for (bool is_last = false; !is_last;) {
        const std::size_t colon = rest.find(':');
        std::string place(rest.substr(0, colon));  // of no length: the working directory
        place.append(place.empty() ? "" : "/").append(name);
        result.push_back(std::move(place));
        is_last = colon == std::string_view::npos;
        rest = is_last ? "" : rest.substr(colon + 1);
    }
    return result;
}

/// What kept the program from being started.
struct Refusal {
    bool is_of_program = false;  ///< else of what prepares it
    int reason = 0;              ///< an errno
    ErrorCode code = ErrorCode::internal;
    std::string message;  ///< of what prepares it
};

/// In the new process: says it to the old one, and ends.
[[noreturn]] void give_up(int pipe, const Refusal& refusal) {
    const std::array<int, 3> numbers{refusal.is_of_program ? 1 : 0, refusal.reason, static_cast<int>(refusal.code)};
    std::string report(sizeof(numbers), '\0');
    std::memcpy(report.data(), numbers.data(), sizeof(numbers));
    report += refusal.message;
    if (::write(pipe, report.data(), report.size()) < 0) {
        ::abort();
    }
    ::_exit(program_refused);
}

/// Once the new process has ended, or has become the program: then it has said nothing.
std::optional<Refusal> refusal_from(int pipe) {
    std::array<int, 3> numbers{};
    std::string report(PIPE_BUF, '\0');
    const ssize_t nbytes = ::read(pipe, report.data(), report.size());
    if (nbytes < static_cast<ssize_t>(sizeof(numbers))) {
        return std::nullopt;
    }
    report.resize(static_cast<std::size_t>(nbytes));
    std::memcpy(numbers.data(), report.data(), sizeof(numbers));
    return Refusal{numbers[0] != 0, numbers[1], static_cast<ErrorCode>(numbers[2]), report.substr(sizeof(numbers))};
}

/// Returns an errno: that of the first place where there is such a program, as posix_spawnp() says it.
int execute(const std::vector<std::string>& places, char* const* arguments, char* const* environment) {
    bool is_refused = false;
    for (const std::string& place : places) {
        ::execve(place.c_str(), arguments, environment);
        const bool goes_on = errno == EACCES || errno == ENOENT || errno == ESTALE || errno == ENOTDIR ||
                             errno == ENODEV || errno == ETIMEDOUT;
        if (!goes_on) {
            return errno;
        }
        is_refused = is_refused || errno == EACCES;
    }
    return is_refused ? EACCES : errno;
}

/// What this process does itself with a signal must not become of one that is meant for the program.
void leave_signals_to_the_program() {
    for (int number = 1; number <= SIGRTMAX; ++number) {
        struct sigaction action {};
        if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN &&
            action.sa_handler != SIG_DFL) {
            ::signal(number, SIG_DFL);
        }
    }
}

[[noreturn]] void become(const Program& program, const SignalMask& mask, int pipe) noexcept {
    std::vector<std::string> words = program.arguments;
    std::vector<std::string> variables = environment_with(program.environment);
    // Far up, since scripts take the first ones for themselves; a duplicate is not closed on exec.
    if (program.inherited >= 0 && ::fcntl(program.inherited, F_DUPFD, first_inherited) < 0) {
        ::fcntl(program.inherited, F_SETFD, 0);
    }
    leave_signals_to_the_program();
    ::pthread_sigmask(SIG_SETMASK, &mask.get(), nullptr);
    if (program.prepare) {
        if (const auto prepared = program.prepare(); !prepared) {
            const Error& error = prepared.error();
            give_up(pipe, {false, error.system_errno(), error.code(), error.message().substr(0, longest_message)});
        }
    }
    const auto arguments = pointers_to(words);
    const auto environment = pointers_to(variables);
    const int reason = execute(candidates(words.front()), arguments.data(), environment.data());
    give_up(pipe, {true, reason, ErrorCode::internal, ""});
}

ProgramEnd cannot_run(const Program& program, int reason) {
    return {reason == ENOENT ? program_not_found : program_refused,
            in_quotes(program.arguments.front()) + " cannot be run: " + std::generic_category().message(reason)};
}

int exit_code_of_status(int status) {
    return WIFSIGNALED(status) ? program_signalled + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Result<ProgramEnd> run_program(const Program& program, const SignalMask& mask) {
    sigset_t awaited{};
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    for (const int number : forwarded) {
        sigaddset(&awaited, number);
    }
    ::pthread_sigmask(SIG_BLOCK, &awaited, nullptr);
    ::signal(SIGCHLD, SIG_DFL);  // where it is ignored, no status is kept
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return cannot_run(program, errno);
    }
    const io::UniqueFd from_child(ends[0]);
    io::UniqueFd to_parent(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) {
        return cannot_run(program, errno);
    }
    if (child == 0) {
        become(program, mask, to_parent.get());
    }
    to_parent = {};
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(child, &status, WNOHANG)) == 0) {
        siginfo_t came{};
        const int number = ::sigwaitinfo(&awaited, &came);
        if (number > 0 && number != SIGCHLD && came.si_code != SI_KERNEL && came.si_pid != child) {
            ::kill(child, number);
        }
    }
    if (ended < 0) {
        return Error(ErrorCode::internal,
                     "the command's exit status cannot be had: " + std::generic_category().message(errno));
    }
    const std::optional<Refusal> refusal = refusal_from(from_child.get());
    if (!refusal) {
        return ProgramEnd{exit_code_of_status(status), ""};
    }
    return refusal->is_of_program ? Result<ProgramEnd>(cannot_run(program, refusal->reason))
                                  : Error(refusal->code, refusal->message, refusal->reason);
}

}  // namespace ckptfs::share
