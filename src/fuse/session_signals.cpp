// A handler that asks who sent the signal, and leaves a note: it could not write to the log.
#include "fuse/session_signals.h"

#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>

#include "fuse/libfuse.h"
#include "host/job_signals.h"
#include "util/log.h"

namespace ckptfs {
namespace {

constexpr std::array signals{SIGTERM, SIGINT, SIGHUP};
constexpr unsigned pid_bits = 32;

/// What a handler can write down. `who` is 0 until a signal came, then its number and who sent it.
struct Note {
    std::atomic<std::uint64_t> who = 0;
    std::atomic<std::uint32_t> user = 0;
    std::atomic<std::uint32_t> count = 0;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "a signal handler sets it");

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): what a handler can reach
std::atomic<fuse_session*> current_session{nullptr};
std::atomic<bool> only_own{false};
std::atomic<pid_t> starter{0};
Note ending;
Note ignored;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

void write_down(Note& note, int number, const siginfo_t& info) {
    note.user = info.si_uid;
    note.who = (static_cast<std::uint64_t>(number) << pid_bits) | static_cast<std::uint32_t>(info.si_pid);
    ++note.count;
}

void end_session(int number, siginfo_t* info, void* /*context*/) {
    auto* const session = current_session.load();
    if (only_own && info->si_pid != ::getpid() && info->si_pid != starter) {
        write_down(ignored, number, *info);
    } else if (session != nullptr) {
        if (ending.who == 0) {
            write_down(ending, number, *info);
        }
        fuse_session_exit(session);
    }
}

std::optional<std::string> text_of(std::uint64_t who, std::uint32_t user) {
    if (who == 0) {
        return std::nullopt;
    }
    return name_of_signal(static_cast<int>(who >> pid_bits)) + sender_of_signal(static_cast<pid_t>(who), user);
}

}  // namespace

SessionSignals::SessionSignals(fuse_session* session, Which which) : which_(which) {
    starter = ::getppid();
    only_own = which.only_own;
    ending.who = 0;
    ignored.count = 0;
    current_session = session;
    struct sigaction action {};
    action.sa_sigaction = end_session;
    action.sa_flags = SA_SIGINFO;  // without SA_RESTART: the loop has to wake up
    sigemptyset(&action.sa_mask);
    for (const int number : signals) {
        struct sigaction before {};
        ::sigaction(number, nullptr, &before);
        const bool is_left_alone = number == SIGHUP && which.but_hang_up;
        if (!is_left_alone && (which.only_own || before.sa_handler != SIG_IGN)) {
            ::sigaction(number, &action, nullptr);
        }
    }
    ::signal(SIGPIPE, SIG_IGN);  // a reader that is gone is an error of a write
}

SessionSignals::~SessionSignals() {
    current_session = nullptr;
    if (which_.only_own) {
        return;
    }
    for (const int number : signals) {
        struct sigaction now {};
        ::sigaction(number, nullptr, &now);
        if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == end_session) {
            ::signal(number, SIG_DFL);
        }
    }
}

std::optional<std::string> SessionSignals::ended_by() {
    return text_of(ending.who, ending.user);
}

void SessionSignals::report_ignored() noexcept {
    const std::uint32_t count = ignored.count.exchange(0);
    if (count == 0) {
        return;
    }
    try {
        const auto last = text_of(ignored.who, ignored.user);
        log::info(last.value_or("a signal") + " is ignored" +
                  (count > 1 ? " (the last of " + std::to_string(count) + ")" : "") +
                  ": this mount ends with those who use it");
    } catch (const std::exception&) {
        log::info("a signal is ignored: this mount ends with those who use it");
    }
}

}  // namespace ckptfs
