// A handler that sets a number, and is gone once it has run.
#include "host/end_signals.h"

#include <atomic>

namespace ckptfs {
namespace {

std::atomic<int> noted_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler sets it");

void note_signal(int signal) {
    int none = 0;
    noted_signal.compare_exchange_strong(none, signal);
}

}  // namespace

EndSignals::EndSignals() {
    noted_signal = 0;
    for (std::size_t i = 0; i < signals.size(); ++i) {
        struct sigaction action {};
        ::sigaction(signals.at(i), nullptr, &before_.at(i));
        if (before_.at(i).sa_handler != SIG_IGN) {
            action.sa_handler = note_signal;
            action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
            ::sigaction(signals.at(i), &action, nullptr);
        }
    }
}

EndSignals::~EndSignals() {
    for (std::size_t i = 0; i < signals.size(); ++i) {
        ::sigaction(signals.at(i), &before_.at(i), nullptr);
    }
}

int EndSignals::received() {
    return noted_signal;
}

}  // namespace ckptfs
