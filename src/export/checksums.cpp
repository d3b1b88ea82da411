// A record's checksum is that of its parts, joined in the order of segments.
#include "export/checksums.h"

#include <algorithm>
#include <string>

#include "pt/crc32.h"

namespace ckptfs::exporting {
namespace {

ByteRange range_of(const pt::UnknownChecksum& record) {
    return {record.data_offset, record.data_offset + record.nbytes};
}

}  // namespace

SegmentChecksums::SegmentChecksums(std::span<const pt::UnknownChecksum> records, const ByteRange& range)
    : records_(records) {
    const auto first = std::partition_point(records.begin(), records.end(),
                                            [&](const auto& record) { return range_of(record).end <= range.begin; });
    next_ = static_cast<std::size_t>(first - records.begin());
}

template <class AddTo>
void SegmentChecksums::for_each_record(const ByteRange& range, AddTo&& add_to) {
    while (next_ < records_.size() && range_of(records_[next_]).begin < range.end) {
        const ByteRange record = range_of(records_[next_]);
        const ByteRange common = record.common(range);
        if (common.nbytes() > 0) {
            if (parts_.empty() || parts_.back().record != next_) {
                parts_.push_back({next_, 0});
            }
            add_to(parts_.back(), common);
        }
        if (record.end > range.end) {
            return;
        }
        ++next_;
    }
}

void SegmentChecksums::add(std::uint64_t offset, std::span<const std::byte> bytes) {
    for_each_record({offset, offset + bytes.size()}, [&](ChecksumPart& part, const ByteRange& range) {
        part.crc32 = pt::crc32_of(bytes.subspan(range.begin - offset, range.nbytes()), part.crc32);
    });
}

void SegmentChecksums::add_zeros(std::uint64_t offset, std::uint64_t nbytes) {
    for_each_record({offset, offset + nbytes}, [](ChecksumPart& part, const ByteRange& range) {
        part.crc32 = pt::crc32_combined(part.crc32, pt::crc32_of_zeros(range.nbytes()), range.nbytes());
    });
}

Result<std::vector<std::uint32_t>> joined_checksums(std::span<const pt::UnknownChecksum> records,
                                                    const std::map<std::uint64_t, std::vector<ChecksumPart>>& parts,
                                                    const FileSegments& segments) {
    std::vector<std::uint32_t> joined(records.size(), 0);
    std::vector<std::uint64_t> covered(records.size(), 0);
    for (const auto& [segment, of_segment] : parts) {
        const ByteRange range = segments.range(segment);
        for (const ChecksumPart& part : of_segment) {
            if (part.record >= records.size()) {
                return Error(ErrorCode::internal, "a segment has a checksum of a record that there is not");
            }
            const std::uint64_t nbytes = range_of(records[part.record]).common(range).nbytes();
            joined[part.record] = pt::crc32_combined(joined[part.record], part.crc32, nbytes);
            covered[part.record] += nbytes;
        }
    }
    for (std::size_t i = 0; i < records.size(); ++i) {
        if (covered[i] != records[i].nbytes) {
            return Error(ErrorCode::internal, "of the record at byte " + std::to_string(records[i].data_offset) +
                                                  ", checksums cover " + std::to_string(covered[i]) + " of " +
                                                  std::to_string(records[i].nbytes) + " bytes");
        }
    }
    return joined;
}

}  // namespace ckptfs::exporting
