// How each run of a file's bytes gets to its place: read and written, copied by the system, or left a hole.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "export/segments.h"
#include "pt/zip_checksums.h"

namespace ckptfs::exporting {

/// Shorter runs of zeros are written, and shorter runs of one source file read together with what is beside them.
inline constexpr std::uint64_t least_hole_nbytes = std::uint64_t{64} << 10U;
inline constexpr std::uint64_t least_copy_nbytes = std::uint64_t{128} << 10U;
/// The system copies where a run has the same place in such a block on both sides, so that file systems can share the
/// blocks; elsewhere it is slower than reading and writing.
inline constexpr std::uint64_t shared_block_nbytes = 4096;

struct FileSpan {
    enum class How : unsigned char { read, copied, hole };

    How how = How::read;
    ByteRange range;
    const File* source = nullptr;  ///< of one that is copied
    std::uint64_t source_offset = 0;

    bool operator==(const FileSpan&) const = default;
};

/// Of one file. Safe for concurrent use.
class SpanPlanner {
 public:
    /// `records`: of what their checksum is computed from, that has to be read; has to live as long as this.
    SpanPlanner(std::shared_ptr<const File> file, std::span<const pt::UnknownChecksum> records);

    /// In order; together they are the range. Asks source files where their holes are, and reads nothing.
    [[nodiscard]] Result<std::vector<FileSpan>> spans(const ByteRange& range) const;

 private:
    class Collector;
    [[nodiscard]] Pieces pieces() const;
    Result<void> add_source(const Piece& piece, std::uint64_t begin, const ByteRange& range, Collector& out) const;
    void add_data(const Piece& piece, std::uint64_t begin, ByteRange range, Collector& out) const;

    std::shared_ptr<const File> file_;
    std::span<const pt::UnknownChecksum> records_;
    PieceList own_pieces_;  // of a file that has none: itself
};

}  // namespace ckptfs::exporting
