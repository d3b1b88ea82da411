// The signals that ask a command to end, taken while it does what is better ended in order.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>

namespace ckptfs {

/// While it lives, the first of SIGINT, SIGTERM and SIGHUP is noted rather than ending the process; each of them has
/// its effect when it comes a second time. Those that are ignored stay ignored. One at a time in a process.
class EndSignals {
 public:
    EndSignals();
    EndSignals(const EndSignals&) = delete;
    EndSignals& operator=(const EndSignals&) = delete;
    ~EndSignals();

    /// The one that came; 0: none.
    [[nodiscard]] static int received();

 private:
    static constexpr std::array<int, 3> signals{SIGINT, SIGTERM, SIGHUP};
    std::array<struct sigaction, signals.size()> before_{};
};

}  // namespace ckptfs
