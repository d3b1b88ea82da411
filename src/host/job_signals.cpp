// A thread that takes the signals synchronously: a handler could not write to the log.
#include "host/job_signals.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
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
    const auto* known = std::find_if(taken_signals.begin(), taken_signals.end(),
                                     [number](const auto& taken) { return taken.first == number; });
    std::array<char, 32> name{};
    if (known != taken_signals.end()) {
        (void)std::snprintf(name.data(), name.size(), "%s", known->second.data());
    } else if (number >= SIGRTMIN && number <= SIGRTMAX) {
        (void)std::snprintf(name.data(), name.size(), "SIGRTMIN+%d", number - SIGRTMIN);
    } else {
        return;  // the end of waiting
    }
    std::array<char, 160> line{};
    (void)std::snprintf(line.data(), line.size(),
                        "%s from process %d is ignored: SIGTERM, SIGINT, SIGHUP and unmounting end a mount",
                        name.data(), static_cast<int>(info.si_pid));
    log::info(line.data());
}

}  // namespace

void block_job_signals() {
    const sigset_t set = taken_signal_set();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

JobSignalLog::JobSignalLog() {
    block_job_signals();
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
    while (!over_) {
        siginfo_t info{};
        note(::sigwaitinfo(&set, &info), info);
    }
}

}  // namespace ckptfs
