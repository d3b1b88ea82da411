// Copies segments, one at a time, through one buffer.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "export/checksums.h"
#include "export/counters.h"
#include "export/page_buffer.h"
#include "export/spans.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

/// Of what ended because it was to end.
[[nodiscard]] Error interrupted();
[[nodiscard]] bool is_interruption(const Error& error);

/// Where a segment goes to.
struct CopyTarget {
    int fd = -1;
    const std::string& name;
    /// Whether all of the segment is a hole yet, so that zeros need not be written.
    bool is_hole = true;
    /// Cleared once the system has refused to copy from this file to that one.
    std::atomic<bool>& system_copies;
};

/// Not thread-safe: each thread has its own.
class SegmentCopier {
 public:
    /// `stops` is asked before each block.
    SegmentCopier(const WriteCalls& calls, Counters& counters, const std::function<bool()>& stops,
                  std::size_t buffer_nbytes);

    /// What the segment gives to the checksums of `records`. Errors of the source say so: those of File::read().
    Result<std::vector<ChecksumPart>> copy(const File& file, const SpanPlanner& planner,
                                           std::span<const pt::UnknownChecksum> records, const ByteRange& segment,
                                           const CopyTarget& target);

 private:
    Result<void> read_and_write(const File& file, ByteRange range, const CopyTarget& target, SegmentChecksums& sums);
    Result<bool> let_copy(const FileSpan& span, const CopyTarget& target);
    Result<void> leave_hole(const ByteRange& range, const CopyTarget& target, SegmentChecksums& sums);
    Result<void> write_zeros(ByteRange range, const CopyTarget& target);
    Result<void> write_data(std::span<const std::byte> data, std::uint64_t offset, const CopyTarget& target);

    const WriteCalls& calls_;
    Counters& counters_;
    const std::function<bool()>& stops_;
    const PageBuffer buffer_;
};

}  // namespace ckptfs::exporting
