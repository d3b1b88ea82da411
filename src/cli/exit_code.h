// What the program's exit status says. The one place that maps errors to it; docs/cli.md shows the same table.
#pragma once

#include <cstdint>

#include "ckptfs/result.h"
#include "host/daemon.h"

namespace ckptfs::cli {

enum class ExitCode : std::uint8_t {
    ok = 0,
    verification = 1,      ///< `verify` found a problem or a difference, `check` a disagreement
    usage = 2,             ///< the command line asks for something impossible
    not_a_checkpoint = 3,  ///< nothing at SOURCE that can be resumed from: no checkpoint, or weights only
    damaged = 4,           ///< a checkpoint that is incomplete, damaged, inconsistent or changing
    unsupported = 5,       ///< a layout on the closed list of docs/support.md
    mount_point = 6,       ///< MOUNTPOINT cannot be used, or the mount failed
    io = 7,                ///< the operating system refused
    internal = 70,         ///< a bug in ckptfs (EX_SOFTWARE)
    // `ckptfs run` has those of share/program.h besides, and its command's own, whatever it is.
};

[[nodiscard]] constexpr ExitCode exit_code_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid_argument:
            return ExitCode::usage;
        case ErrorCode::not_a_checkpoint:
        case ErrorCode::not_found:
            return ExitCode::not_a_checkpoint;
        case ErrorCode::incomplete:
        case ErrorCode::damaged:
        case ErrorCode::inconsistent:
        case ErrorCode::stale:
            return ExitCode::damaged;
        case ErrorCode::unsupported:
            return ExitCode::unsupported;
        case ErrorCode::io:
            return ExitCode::io;
        case ErrorCode::mount:
            return ExitCode::mount_point;
        case ErrorCode::verification:
            return ExitCode::verification;
        case ErrorCode::internal:
            return ExitCode::internal;
    }
    return ExitCode::internal;
}

[[nodiscard]] constexpr int status_of(ExitCode code) {
    return static_cast<int>(code);
}

/// Of a daemon that died before it could say why, and of one that could not be started.
inline constexpr StartExitCodes start_exit_codes{status_of(ExitCode::internal), status_of(ExitCode::io), false};

}  // namespace ckptfs::cli
