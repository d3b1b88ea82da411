// Blocks end at multiples of their size in the file that is written, so that the system writes whole pages.
#include "export/segment_copier.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ckptfs::exporting {
namespace {

/// Between looks at whether to stop.
constexpr std::uint64_t most_copied_nbytes = std::uint64_t{16} << 20U;
/// A checksum has just brought it into the cache. With more at once the system looks for longer runs of memory for its
/// own cache, which on virtual machines is memory that nobody has used yet, and slow to come by.
constexpr std::uint64_t written_at_once = std::uint64_t{256} << 10U;

bool is_all_zero(std::span<const std::byte> bytes) {
    return bytes.empty() ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

Error interrupted() {
    return {ErrorCode::io, "the export was interrupted", EINTR};
}

bool is_interruption(const Error& error) {
    return error.code() == ErrorCode::io && error.system_errno() == EINTR;
}

SegmentCopier::SegmentCopier(const WriteCalls& calls, Counters& counters, const std::function<bool()>& stops,
                             std::size_t buffer_nbytes)
    : calls_(calls), counters_(counters), stops_(stops), buffer_(buffer_nbytes) {}

Result<std::vector<ChecksumPart>> SegmentCopier::copy(const File& file, const SpanPlanner& planner,
                                                      std::span<const pt::UnknownChecksum> records,
                                                      const ByteRange& segment, const CopyTarget& target) {
    CKPTFS_ASSIGN(const auto spans, planner.spans(segment));
    SegmentChecksums sums(records, segment);
    for (const FileSpan& span : spans) {
        if (span.how == FileSpan::How::hole) {
            CKPTFS_TRY(leave_hole(span.range, target, sums));
            continue;
        }
        if (span.how == FileSpan::How::copied && target.system_copies) {
            CKPTFS_ASSIGN(const bool is_copied, let_copy(span, target));
            if (is_copied) {
                continue;
            }
            target.system_copies = false;
        }
        CKPTFS_TRY(read_and_write(file, span.range, target, sums));
    }
    return sums.parts();
}

/// False where the system does not; what it has copied until then is written again.
Result<bool> SegmentCopier::let_copy(const FileSpan& span, const CopyTarget& target) {
    std::uint64_t done = 0;
    while (done < span.range.nbytes()) {
        if (stops_()) {
            return interrupted();
        }
        const std::uint64_t nbytes = std::min(span.range.nbytes() - done, most_copied_nbytes);
        CKPTFS_ASSIGN(const bool is_copied,
                      calls_.copy(*span.source, span.source_offset + done, nbytes, target.fd, span.range.begin + done));
        if (!is_copied) {
            counters_.copied -= done;
            return false;
        }
        done += nbytes;
        counters_.copied += nbytes;
    }
    return true;
}

Result<void> SegmentCopier::leave_hole(const ByteRange& range, const CopyTarget& target, SegmentChecksums& sums) {
    sums.add_zeros(range.begin, range.nbytes());
    if (!target.is_hole) {
        CKPTFS_TRY(write_zeros(range, target));
    }
    counters_.holes += range.nbytes();
    return {};
}

Result<void> SegmentCopier::write_zeros(ByteRange range, const CopyTarget& target) {
    const std::span<std::byte> buffer = buffer_.bytes();
    std::memset(buffer.data(), 0, std::min<std::uint64_t>(buffer.size(), range.nbytes()));
    while (range.nbytes() > 0) {
        if (stops_()) {
            return interrupted();
        }
        const std::uint64_t nbytes = std::min<std::uint64_t>(buffer.size(), range.nbytes());
        CKPTFS_TRY(write_all(calls_, target.fd, target.name, buffer.first(nbytes), range.begin));
        range.begin += nbytes;
    }
    return {};
}

Result<void> SegmentCopier::read_and_write(const File& file, ByteRange range, const CopyTarget& target,
                                           SegmentChecksums& sums) {
    const std::span<std::byte> buffer = buffer_.bytes();
    while (range.nbytes() > 0) {
        if (stops_()) {
            return interrupted();
        }
        const std::uint64_t block_end = (range.begin / buffer.size() + 1) * buffer.size();
        const std::span<std::byte> block = buffer.first(std::min(block_end, range.end) - range.begin);
        CKPTFS_TRY(file.read(range.begin, block));
        for (std::size_t at = 0; at < block.size();) {
            const std::uint64_t offset = range.begin + at;
            const std::uint64_t end = (offset / written_at_once + 1) * written_at_once - range.begin;
            const auto part = block.subspan(at, std::min<std::uint64_t>(end, block.size()) - at);
            sums.add(offset, part);
            CKPTFS_TRY(write_data(part, offset, target));
            at += part.size();
        }
        range.begin += block.size();
    }
    return {};
}

/// Leaves out what is zero, where that saves blocks of the disk.
Result<void> SegmentCopier::write_data(std::span<const std::byte> data, std::uint64_t offset,
                                       const CopyTarget& target) {
    std::size_t written = 0;  // up to here, written or a hole
    std::size_t at = 0;
    const auto write_until = [&](std::size_t end) {
        counters_.read += end - written;
        return write_all(calls_, target.fd, target.name, data.subspan(written, end - written), offset + written);
    };
    while (target.is_hole && at < data.size()) {
        const std::uint64_t granule_end = ((offset + at) / least_hole_nbytes + 1) * least_hole_nbytes;
        const std::size_t end = std::min<std::uint64_t>(granule_end - offset, data.size());
        if (end - at == least_hole_nbytes && is_all_zero(data.subspan(at, end - at))) {
            CKPTFS_TRY(write_until(at));
            counters_.holes += end - at;
            written = end;
        }
        at = end;
    }
    return write_until(data.size());
}

}  // namespace ckptfs::exporting
