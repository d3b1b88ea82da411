// Checksums of records, from parts that come segment by segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "export/segments.h"
#include "pt/zip_checksums.h"

namespace ckptfs::exporting {

/// What one segment gives, in the order of its bytes. Records are those of unknown_checksums().
class SegmentChecksums {
 public:
    /// `range`: of the segment. `records` has to live as long.
    SegmentChecksums(std::span<const pt::UnknownChecksum> records, const ByteRange& range);

    /// The bytes of the file from `offset` on; offsets ascend.
    void add(std::uint64_t offset, std::span<const std::byte> bytes);
    void add_zeros(std::uint64_t offset, std::uint64_t nbytes);

    [[nodiscard]] const std::vector<ChecksumPart>& parts() const { return parts_; }

 private:
    /// Calls `add_to` with the part of each record in `range`, and with that range.
    template <class AddTo>
    void for_each_record(const ByteRange& range, AddTo&& add_to);

    std::span<const pt::UnknownChecksum> records_;
    std::size_t next_;  // the first record that does not end before what comes next
    std::vector<ChecksumPart> parts_;
};

/// Of each record whole, from what all segments gave. `internal` where a part is missing.
Result<std::vector<std::uint32_t>> joined_checksums(std::span<const pt::UnknownChecksum> records,
                                                    const std::map<std::uint64_t, std::vector<ChecksumPart>>& parts,
                                                    const FileSegments& segments);

}  // namespace ckptfs::exporting
