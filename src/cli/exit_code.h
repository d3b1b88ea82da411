// What the program's exit status says. The one place that maps errors to it; docs/cli.md shows the same table.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "ckptfs/result.h"
#include "host/daemon.h"

namespace ckptfs::cli {

enum class ExitCode : std::uint8_t {
    ok = 0,
    verification = 1,      ///< `verify` found a problem or a difference, `check` a disagreement, `diff` a difference
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

struct ExitMeaning {
    ExitCode code;
    std::string_view text;
};

/// Every status but those of the COMMAND of `ckptfs run`, for people.
inline constexpr std::array<ExitMeaning, 9> exit_meanings{{
    {ExitCode::ok, "success; for a mount in the foreground also: unmounted, or ended by SIGTERM, SIGINT or SIGHUP"},
    {ExitCode::verification, "`verify` found a problem or a difference, `check` a disagreement, `diff` a difference"},
    {ExitCode::usage,
     "usage: an unknown option, a bad world size, SOURCE and MOUNTPOINT inside each other, a path in a mount over its "
     "own source"},
    {ExitCode::not_a_checkpoint,
     "nothing to resume from at SOURCE: it is absent, no checkpoint, or a directory of weights only"},
    {ExitCode::damaged,
     "a checkpoint that is incomplete (model states without optimizer files included), damaged, of mixed saves, or "
     "changing"},
    {ExitCode::unsupported, "a layout that is not supported"},
    {ExitCode::mount_point,
     "MOUNTPOINT cannot be used: absent, not empty, stale, in use, no mount of ckptfs, another user's; or FUSE "
     "refused, "
     "or, for `run --in-place`, namespaces"},
    {ExitCode::io, "input/output: the operating system refused, also memory, a process, a thread or a descriptor"},
    {ExitCode::internal, "a bug in ckptfs"},
}};

/// Of a daemon that died before it could say why, and of one that could not be started.
inline constexpr StartExitCodes start_exit_codes{status_of(ExitCode::internal), status_of(ExitCode::io), false};

}  // namespace ckptfs::cli
