// Writes the files of a view out: all of them, or nothing under their final name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/counters.h"
#include "export/manifest.h"
#include "export/recorder.h"
#include "export/segments.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

struct ExportRequest {
    std::shared_ptr<const Source> tree;  ///< what is written out
    std::string source_path;             ///< of the checkpoint that it shows
    std::string destination;             ///< absolute; nothing, or an empty directory
    std::string version;                 ///< of ckptfs: another may lay the files out in another way
    std::vector<Setting> settings;       ///< what else decides about the bytes
    std::size_t jobs = 1;                ///< threads, from 1
    std::uint64_t memory_nbytes = 0;     ///< for all buffers together; see buffer_nbytes()
    bool verify = false;                 ///< read everything back before it gets its name
    std::uint64_t segment_nbytes = default_segment_nbytes;
    RecorderLimits limits = {};
};

struct ExportHooks {
    std::function<bool()> stops = [] { return false; };  ///< whether to end now, to be gone on with later
    std::function<void(const std::string&)> warn = [](const std::string&) {};
};

/// What was exported; how much of what kind is in the counters.
struct ExportSummary {
    std::size_t files = 0;
    std::string destination;    ///< as it is, without symbolic links
    bool was_finished = false;  ///< by an earlier run, which only had not cleared up
};

inline constexpr std::uint64_t least_buffer_nbytes = std::uint64_t{64} << 10U;
inline constexpr std::uint64_t largest_buffer_nbytes = std::uint64_t{4} << 20U;

/// Of one of `jobs` threads: a power of two that fits into its share. 0 where that is less than least_buffer_nbytes.
[[nodiscard]] std::uint64_t buffer_nbytes(std::uint64_t memory_nbytes, std::size_t jobs);

/// Everything is built in "<destination>.partial", and can be gone on with from there, by the same request, whatever
/// ended this one. `stale` where the source changes meanwhile, `verification` where what is read back is not what was
/// written, `io` with EINTR where hooks.stops() has said so.
Result<ExportSummary> export_tree(const ExportRequest& request, const WriteCalls& calls, Counters& counters,
                                  const ExportHooks& hooks);

}  // namespace ckptfs::exporting
