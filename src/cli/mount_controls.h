// What commands do with mounts that there are already, so that tests need none.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "host/mount_control.h"
#include "host/mount_point.h"
#include "util/log.h"

namespace ckptfs::cli {

/// The real ones, unless a test puts others in their place.
struct MountControls {
    /// Of this process's mount namespace, of any type, the uppermost last.
    std::function<std::vector<MountEntry>()> mounts = [] {
        return mounts_of_process([](const MountEntry&) { return true; });
    };
    std::function<Result<std::string>(const std::string& path)> real_point = real_mount_point;
    std::function<Result<std::string>(const std::string& mount_point, std::string_view name)> ask = ask_mount;
    std::function<Result<void>(const std::string& mount_point, log::Level level)> set_log_level = set_log_level_of;
    std::function<Result<void>(const std::string& mount_point, Unmounting how)> unmount = ckptfs::unmount;
    std::function<bool(const ProcessId& process)> is_running = ckptfs::is_running;
    /// How long a mount may take to say a word, and a daemon to end.
    std::chrono::milliseconds patience{3'000};
    std::chrono::milliseconds patience_for_end{30'000};
};

/// What `ask` answers; nullopt where that takes too long: a daemon may wait for its source for ever.
[[nodiscard]] std::optional<Result<std::string>> ask_in_time(const MountControls& controls,
                                                             const std::string& mount_point, std::string_view name);

/// The uppermost mount on `point`, without symbolic links. `mount` where there is none, or none of ckptfs.
/// `for_others`: the end of the sentence about another one.
Result<MountEntry> mount_on(const MountControls& controls, const std::string& point, const char* for_others);

/// Whether a mount that answers with `error` has lost its daemon.
[[nodiscard]] bool says_stale(const Error& error);

}  // namespace ckptfs::cli
