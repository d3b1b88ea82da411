// What a mount is asked and told by its own user, or by root, beside the operations of a file system: both sides.
#pragma once

#include <sys/ioctl.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "ckptfs/result.h"
#include "util/log.h"

namespace ckptfs {

/// An ioctl on a mount's root, since nothing of a read-only mount can be opened for writing: a log::Level.
inline constexpr unsigned set_log_level_request = _IOW('K', 0x70, std::uint32_t);

/// The content of the mount's own file `name` (util/own_names.h), of the one at `mount_point`. `mount` where that is
/// none of ckptfs, or one that does not answer; the error says what to do.
Result<std::string> ask_mount(const std::string& mount_point, std::string_view name);
/// From now on the mount's log has lines of this level and graver ones.
Result<void> set_log_level_of(const std::string& mount_point, log::Level level);

enum class Unmounting : std::uint8_t { if_unused, lazily };
/// Takes the uppermost mount on `real_mount_point` away, as root or by fusermount3; one whose daemon is gone, too.
/// `mount` where that is refused, because it is used or is another user's.
Result<void> unmount(const std::string& real_mount_point, Unmounting how);

/// A process that is told from a later one of the same number.
struct ProcessId {
    pid_t number = 0;
    std::uint64_t started = 0;  ///< in the kernel's ticks since boot (proc_pid_stat(5))

    bool operator==(const ProcessId&) const = default;
};
/// "12 345678", as a mount says it of its daemon.
[[nodiscard]] std::string text_of(const ProcessId& process);
[[nodiscard]] Result<ProcessId> parse_process_id(const std::string& text);
[[nodiscard]] ProcessId this_process();
/// Whether it is there and has not ended. False for one of another process namespace, too.
[[nodiscard]] bool is_running(const ProcessId& process);

/// A mount point without symbolic links on the way to it; it may be a mount whose daemon is gone, which no path can be
/// resolved through.
Result<std::string> real_mount_point(const std::string& path);

}  // namespace ckptfs
