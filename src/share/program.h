// Running another program in this one's place: same terminal, same signals, same exit status.
#pragma once

#include <csignal>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::share {

struct Program {
    std::vector<std::string> arguments;                            ///< the first is looked up in PATH
    std::vector<std::pair<std::string, std::string>> environment;  ///< added to this process's
    int inherited = -1;                                            ///< a descriptor that it keeps besides the streams
    std::function<Result<void>()> prepare;  ///< done in its process before it is there; an error keeps it away
};

// Exit codes of programs that have none of their own, as shells give them.
inline constexpr int program_refused = 126;    ///< it is there, but cannot be run
inline constexpr int program_not_found = 127;  ///< there is none
inline constexpr int program_signalled = 128;  ///< a signal ended it: this plus the signal's number

/// How a program ended.
struct ProgramEnd {
    int exit_code = 0;
    std::string message;  ///< why it could not be run; empty where it was
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
/// that the caller can clear up. The exit code is the program's, or one of those above. One thread.
/// An error of Program::prepare, and `internal` where the system does not tell how it ended.
Result<ProgramEnd> run_program(const Program& program, const SignalMask& mask);

}  // namespace ckptfs::share
