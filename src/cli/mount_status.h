// What a mount says of itself: as text, as JSON, and for Prometheus.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fs/mount_state.h"
#include "host/mount_control.h"
#include "host/request_counters.h"

namespace ckptfs::cli {

/// Where the log of a mount goes, for people.
struct LogTarget {
    std::string name;  ///< a path, "syslog" or "standard error"
    bool is_read = true;
    bool is_json = false;
};

/// What does not change while it is mounted.
struct MountFacts {
    std::string source;
    std::string mount_point;
    std::string view;  ///< a request's name, "catalogue" where there is none
    bool writable = false;
    bool in_place = false;
    bool allow_other = false;
    LogTarget log;
    std::int64_t started_s = 0;  ///< since the epoch
    std::uint32_t user = 0;
    ProcessId daemon;
};

/// All that there is to say at one moment.
struct MountStatus {
    MountFacts facts;
    FileSystemState files;
    RequestTotals requests;
    std::int64_t now_s = 0;
    std::uint64_t resident_nbytes = 0;
    std::uint64_t most_resident_nbytes = 0;
    std::uint64_t counted_nbytes = 0;       ///< of these, what --memory limits
    std::uint64_t most_counted_nbytes = 0;  ///< that limit
    std::string log_level;
    std::uint64_t lines_held_back = 0;
};

/// Of this process.
[[nodiscard]] MountStatus status_now(const MountFacts& facts, const RequestCounters& counters,
                                     const FileSystemState& files);

[[nodiscard]] std::string status_text(const MountStatus& status);
/// One object; docs/operations.md lists what is in it. `schema_version` grows when a member goes or means something
/// else.
[[nodiscard]] std::string status_json(const MountStatus& status);
/// The text form of Prometheus (its exposition format 0.0.4).
[[nodiscard]] std::string status_metrics(const MountStatus& status);

/// Names of a mount's own files, which its root has as extended attributes, too.
inline constexpr const char* status_file = "status";
inline constexpr const char* status_json_file = "status.json";
inline constexpr const char* metrics_file = "metrics.prom";
inline constexpr const char* log_lines_file = "log";
inline constexpr const char* view_file = "view";
inline constexpr const char* daemon_file = "daemon";

/// The files that the mount of `facts` has.
[[nodiscard]] OwnFiles own_files(const MountFacts& facts, const std::shared_ptr<const RequestCounters>& counters);

}  // namespace ckptfs::cli
