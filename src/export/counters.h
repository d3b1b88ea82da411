// What an export has done so far, for whoever watches it.
#pragma once

#include <atomic>
#include <cstdint>

namespace ckptfs::exporting {

enum class Phase : unsigned char { looking, writing, syncing, verifying };

/// Bytes of files. Safe for concurrent use; only the export itself changes them.
struct Counters {
    std::atomic<Phase> phase = Phase::looking;
    std::atomic<std::uint64_t> total = 0;
    std::atomic<std::uint64_t> earlier = 0;  ///< on disk since an earlier run
    std::atomic<std::uint64_t> read = 0;     ///< read by this process, and written
    std::atomic<std::uint64_t> copied = 0;   ///< by the system
    std::atomic<std::uint64_t> holes = 0;    ///< zeros that nobody had to write
    std::atomic<std::uint64_t> verified = 0;

    /// By this run.
    [[nodiscard]] std::uint64_t written() const { return read + copied + holes; }
};

}  // namespace ckptfs::exporting
