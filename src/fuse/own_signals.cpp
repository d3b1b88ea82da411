// A handler that asks who sent the signal.
#include "fuse/own_signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "fuse/adapter.h"

namespace ckptfs {
namespace {

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): what a handler can reach
std::atomic<fuse_session*> current_session{nullptr};
std::atomic<pid_t> starter{0};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

void end_if_own(int /*number*/, siginfo_t* info, void* /*context*/) {
    auto* const session = current_session.load();
    if (session != nullptr && (info->si_pid == ::getpid() || info->si_pid == starter)) {
        fuse_session_exit(session);
    }
}

}  // namespace

OwnSignals::OwnSignals(fuse_session* session) {
    starter = ::getppid();
    current_session = session;
    struct sigaction action {};
    action.sa_sigaction = end_if_own;
    action.sa_flags = SA_SIGINFO;  // without SA_RESTART: the loop has to wake up
    sigemptyset(&action.sa_mask);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
        ::sigaction(number, &action, nullptr);
    }
}

OwnSignals::~OwnSignals() {
    current_session = nullptr;
}

}  // namespace ckptfs
