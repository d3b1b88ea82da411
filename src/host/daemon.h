// Turning into a daemon that reports to the shell only once it has something to say.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace ckptfs {

/// How the daemon's start went; `message` is one sentence for standard error, empty on success.
struct StartReport {
    int exit_code = 0;
    std::string message;
    int signal = 0;  ///< what the parent was to end by while it waited; whoever has the report raises it
};

/// The exit codes of what body() has no word in.
struct StartExitCodes {
    int crashed = 0;  ///< the child died
    int refused = 0;  ///< the system has no process, pipe or descriptor for it
    /// `ready` goes on where the parent is gone: others may use what the child serves, which itself notices when nobody
    /// does.
    bool serves_others = false;
};

/// Forks and runs `body` in the child, which has a session of its own, "/" as its directory, and no descriptor of the
/// caller's but `kept`, above standard error, and that itself until `ready` is called, which closes it. Call it before
/// any thread or other file that the child needs exists, and with absolute paths only. In the parent: returns {0, ""}
/// when the child calls `ready`, otherwise what `body` returned, or one of `codes` and what happened. In the child:
/// never returns; exits with the code of `body`. SIGINT, SIGTERM and SIGHUP that come to the waiting parent go to the
/// child too, and are reported when the child has ended; they stay blocked once `ready` has been called, for the parent
/// to exit. Where the parent is gone, `ready` sends SIGTERM to the child itself, unless that serves others too.
StartReport daemonise(const std::function<StartReport(const std::function<void()>& ready)>& body, StartExitCodes codes,
                      std::optional<int> kept);

}  // namespace ckptfs
