// ckptfs umount: unmounts, and waits for the daemon.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/mount_status.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* of_others = ": unmount it with umount";

/// Who serves the mount; nullopt where nobody can say.
std::optional<ProcessId> daemon_of(const Result<std::string>& answer) {
    if (!answer) {
        return std::nullopt;
    }
    const auto parsed = parse_process_id(*answer);
    return parsed ? std::optional(*parsed) : std::nullopt;
}

bool is_absent(const Error& error) {
    return error.system_errno() == ENOENT || error.system_errno() == ENOTDIR;
}

/// Takes nothing away but what a killed daemon has left; what else is there, or nothing, is no error.
Result<void> unmount_stale(const std::string& path, const MountControls& controls) {
    const auto point = controls.real_point(path);
    if (!point) {
        return is_absent(point.error()) ? Result<void>() : point.error();
    }
    if (!mount_on(controls, *point, of_others)) {
        return {};
    }
    const auto answer = ask_in_time(controls, *point, daemon_file);
    if (!answer || *answer || !says_stale(answer->error())) {
        return {};
    }
    return controls.unmount(*point, Unmounting::lazily);  // whoever still has it open gets nothing from it any more
}

}  // namespace

Result<void> unmount(const UnmountArguments& arguments, const Environment& environment) {
    const MountControls& controls = environment.mount_controls;
    CKPTFS_ASSIGN(const std::string path, absolute_path(arguments.mount_point, environment.working_directory));
    if (arguments.only_stale) {
        return unmount_stale(path, controls);
    }
    const auto real = controls.real_point(path);
    if (!real) {
        return is_absent(real.error()) ? Error(ErrorCode::mount, real.error().message()) : real.error();
    }
    const std::string& point = *real;
    CKPTFS_ASSIGN(const MountEntry mount, mount_on(controls, point, of_others));
    if (arguments.is_lazy) {
        return controls.unmount(point, Unmounting::lazily);
    }
    const auto answer = ask_in_time(controls, point, daemon_file);
    if (!answer) {  // whoever asks and waits is a user too, for whom the mount stays
        return Error(ErrorCode::mount,
                     in_quotes(point) +
                         " does not say who serves it: its daemon was stopped, or waits for its source; ckptfs umount "
                         "--lazy takes the mount away without asking, and the daemon ends when it goes on");
    }
    const auto daemon = daemon_of(*answer);
    CKPTFS_TRY(controls.unmount(point, Unmounting::if_unused));
    const auto mounts = controls.mounts();
    const bool is_mounted_elsewhere = std::any_of(mounts.begin(), mounts.end(), [&](const MountEntry& other) {
        return other.type == mount_type && other.device == mount.device;
    });
    if (!daemon || is_mounted_elsewhere) {
        return {};
    }
    const auto end = std::chrono::steady_clock::now() + controls.patience_for_end;
    while (controls.is_running(*daemon)) {
        if (std::chrono::steady_clock::now() >= end) {
            return Error(ErrorCode::io, in_quotes(point) + " is unmounted here, but its daemon, process " +
                                            std::to_string(daemon->number) +
                                            ", has not ended: it is mounted elsewhere too (in another mount "
                                            "namespace), or waits for its source");
        }
        constexpr std::chrono::milliseconds pause{20};
        std::this_thread::sleep_for(pause);
    }
    return {};
}

}  // namespace ckptfs::cli
