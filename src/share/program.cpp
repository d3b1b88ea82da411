// posix_spawn and a loop over signals that are taken synchronously: no handlers, no races with the child's end.
#include "share/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "util/text.h"

namespace ckptfs::share {
namespace {

constexpr int first_inherited = 100;

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

// Returns an errno.
int spawn(const Program& program, const SignalMask& mask, pid_t& child) {
    posix_spawn_file_actions_t actions{};
    posix_spawnattr_t attributes{};
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    // Far up, since scripts take the first ones for themselves; a duplicate by dup2() is not closed on exec.
    const int duplicate = ::fcntl(program.inherited, F_DUPFD_CLOEXEC, first_inherited);
    const int inherited = duplicate < 0 ? program.inherited : duplicate;
    ::posix_spawn_file_actions_adddup2(&actions, inherited, inherited);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    ::posix_spawnattr_setsigmask(&attributes, &mask.get());
    std::vector<std::string> words = program.arguments;
    std::vector<std::string> variables = environment_with(program.environment);
    const int failure = ::posix_spawnp(&child, words.front().c_str(), &actions, &attributes, pointers_to(words).data(),
                                       pointers_to(variables).data());
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    return failure;
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
    pid_t child = 0;
    if (const int failure = spawn(program, mask, child)) {
        return ProgramEnd{
            failure == ENOENT ? program_not_found : program_refused,
            in_quotes(program.arguments.front()) + " cannot be run: " + std::generic_category().message(failure)};
    }
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
    return ProgramEnd{exit_code_of_status(status), ""};
}

}  // namespace ckptfs::share
