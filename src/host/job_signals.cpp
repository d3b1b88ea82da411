// A thread that takes the signals synchronously: a handler could not write to the log.
#include "host/job_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "util/log.h"

namespace ckptfs {
namespace {

// SIGTERM, SIGINT and SIGHUP end a mount. SIGXCPU and SIGXFSZ are a warning of the kernel's: what the limit on the size
// of files refuses is then an error of write(), and a line of the log is lost rather than the mount.
constexpr std::array<std::pair<int, std::string_view>, 11> taken_signals{{{SIGUSR1, "SIGUSR1"},
                                                                          {SIGUSR2, "SIGUSR2"},
                                                                          {SIGQUIT, "SIGQUIT"},
                                                                          {SIGALRM, "SIGALRM"},
                                                                          {SIGVTALRM, "SIGVTALRM"},
                                                                          {SIGPROF, "SIGPROF"},
                                                                          {SIGXCPU, "SIGXCPU"},
                                                                          {SIGXFSZ, "SIGXFSZ"},
                                                                          {SIGIO, "SIGIO"},
                                                                          {SIGPWR, "SIGPWR"},
                                                                          {SIGSTKFLT, "SIGSTKFLT"}}};
constexpr int wake_signal = SIGURG;  // its default is to do nothing

sigset_t taken_signal_set() {
    sigset_t set{};
    sigemptyset(&set);
    for (const auto& [number, name] : taken_signals) {
        sigaddset(&set, number);
    }
    // Schedulers let their users choose any number.
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
        sigaddset(&set, number);
    }
    return set;
}

void note(int number, const siginfo_t& info) noexcept {
    if (number <= 0 || number == wake_signal) {
        return;  // the end of waiting
    }
    try {
        const std::string what = name_of_signal(number) + sender_of_signal(info.si_pid, info.si_uid);
        if (number == SIGHUP) {
            if (log::reopen()) {
                log::info(what + ": the log file is opened anew");
            }
        } else {
            log::info(what + " is ignored: SIGTERM, SIGINT and unmounting end a mount");
        }
    } catch (const std::exception&) {
        log::info("a signal came, and there is no memory to say which");
    }
}

}  // namespace

std::string name_of_signal(int number) {
    constexpr std::array<std::pair<int, std::string_view>, 3> ending{
        {{SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}}};
    for (const auto& [known, name] : ending) {
        if (known == number) {
            return std::string(name);
        }
    }
    for (const auto& [known, name] : taken_signals) {
        if (known == number) {
            return std::string(name);
        }
    }
    return number >= SIGRTMIN && number <= SIGRTMAX ? "SIGRTMIN+" + std::to_string(number - SIGRTMIN)
                                                    : "signal " + std::to_string(number);
}

std::string sender_of_signal(pid_t process, std::uint32_t user) {
    if (process == 0) {
        return " from the kernel or the terminal";
    }
    if (process == ::getpid()) {
        return " from ckptfs itself";
    }
    return " from process " + std::to_string(process) + " of user " + std::to_string(user);
}

void block_job_signals() {
    const sigset_t set = taken_signal_set();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

JobSignalLog::JobSignalLog(HangUp hang_up) : hang_up_(hang_up) {
    block_job_signals();
    if (hang_up_ == HangUp::reopens_log) {
        sigset_t set{};
        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
        ::signal(SIGHUP, SIG_DFL);  // ignored, as nohup leaves it, it would never be waited for
    }
    // All others are for the thread that serves.
    sigset_t all{};
    sigset_t before{};
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { take(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

JobSignalLog::~JobSignalLog() {
    over_ = true;
    ::pthread_kill(thread_.native_handle(), wake_signal);
    thread_.join();
}

void JobSignalLog::take() const noexcept {
    sigset_t set = taken_signal_set();
    sigaddset(&set, wake_signal);
    if (hang_up_ == HangUp::reopens_log) {
        sigaddset(&set, SIGHUP);
    }
    while (!over_) {
        siginfo_t info{};
        note(::sigwaitinfo(&set, &info), info);
    }
}

}  // namespace ckptfs
