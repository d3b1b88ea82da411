// What a mount is asked to be.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ckptfs {

class RequestCounters;

/// Whether the kernel's page cache stands between readers and the daemon.
enum class IoMode : std::uint8_t {
    /// Direct for files of views that one rank reads once, cached for all else; SOURCE's own files, where the mount is
    /// writable, by the kernel itself if it can.
    automatic,
    cached,
    direct,
};

struct MountOptions {
    std::string source;       ///< absolute; shown as the mounted device
    std::string mount_point;  ///< absolute
    /// /dev/fuse, with which somebody else has mounted: it is served, and neither mounted nor unmounted here.
    std::optional<int> descriptor;
    IoMode io = IoMode::automatic;
    bool allow_other = false;
    /// What the file system can be asked to change, it changes. Under allow_other only where this process is root's.
    bool writable = false;
    /// The mount point is the source itself, which the file system holds by a descriptor and nobody looks for by its
    /// path.
    bool in_place = false;
    /// Of SIGTERM, SIGINT and SIGHUP only those that this process or its parent sends end the mount.
    bool ends_by_own_signals = false;
    /// SIGHUP does not end the mount: whoever serves it takes that signal otherwise.
    bool outlives_hang_up = false;
    /// Every request is counted there; nullptr: nobody wants to know.
    std::shared_ptr<RequestCounters> counters = nullptr;
    /// Passed on to the kernel or fusermount3 as `-o`, one option each ("dirsync", "context=..."); checked by them.
    std::vector<std::string> kernel_options;
};

}  // namespace ckptfs
