// Running another program in this one's place: same terminal, same signals, same exit status.
#pragma once

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "fuse/daemon.h"

namespace ckptfs::cli {

struct Program {
    std::vector<std::string> arguments;                            ///< the first is looked up in PATH
    std::vector<std::pair<std::string, std::string>> environment;  ///< added to this process's
    int inherited = -1;                                            ///< a descriptor that it keeps besides the streams
};

/// Signals as they were when the program started. Made before anything blocks one.
class SignalMask {
 public:
    SignalMask() { ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_); }
    [[nodiscard]] const sigset_t& get() const { return mask_; }

 private:
    sigset_t mask_{};
};

/// Runs it to its end. Meanwhile, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 and SIGCONT that somebody else
/// sends to this process go on to it; what the terminal sends, it gets from there. They stay blocked afterwards, so
/// that the caller can clear up. The exit code is the program's, or 128 plus the number of the signal that ended it;
/// 127 where there is no such program and 126 where it cannot be run, both with a message. One thread.
StartReport run_program(const Program& program, const SignalMask& mask);

}  // namespace ckptfs::cli
