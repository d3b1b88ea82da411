// Files in segments: what is copied by one thread at a time, and counts as a whole or not at all.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace ckptfs::exporting {

inline constexpr std::uint64_t default_segment_nbytes = std::uint64_t{64} << 20U;

/// The part of a record's checksum that a segment gives: the CRC of those bytes of the record that lie in it.
struct ChecksumPart {
    std::uint64_t record = 0;  ///< its number among those whose checksum is unknown
    std::uint32_t crc32 = 0;

    bool operator==(const ChecksumPart&) const = default;
};

/// Bytes [begin, end) of a file.
struct ByteRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    [[nodiscard]] std::uint64_t nbytes() const { return end - begin; }
    /// Empty where they share none.
    [[nodiscard]] ByteRange common(const ByteRange& other) const {
        const std::uint64_t from = std::max(begin, other.begin);
        return {from, std::max(from, std::min(end, other.end))};
    }

    bool operator==(const ByteRange&) const = default;
};

/// How one file is cut.
struct FileSegments {
    std::uint64_t file_nbytes = 0;
    std::uint64_t segment_nbytes = default_segment_nbytes;

    [[nodiscard]] std::uint64_t count() const { return (file_nbytes + segment_nbytes - 1) / segment_nbytes; }
    [[nodiscard]] ByteRange range(std::uint64_t segment) const {
        return {segment * segment_nbytes, std::min((segment + 1) * segment_nbytes, file_nbytes)};
    }
};

/// What of a file is written, and on disk.
struct FinishedFile {
    bool is_complete = false;  ///< checksums and attributes too
    std::map<std::uint64_t, std::vector<ChecksumPart>> segments;
};

}  // namespace ckptfs::exporting
