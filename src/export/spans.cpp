// Pieces, cut where checksums are unknown, and where source files have holes.
#include "export/spans.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace ckptfs::exporting {

/// Joins neighbours that are read, and copies that continue each other.
class SpanPlanner::Collector {
 public:
    void add(const FileSpan& span) {
        if (span.range.nbytes() == 0) {
            return;
        }
        if (!spans_.empty() && continues(spans_.back(), span)) {
            spans_.back().range.end = span.range.end;
        } else {
            spans_.push_back(span);
        }
    }

    std::vector<FileSpan> take() { return std::move(spans_); }

 private:
    static bool continues(const FileSpan& before, const FileSpan& span) {
        const bool same_source =
            before.source == span.source && before.source_offset + before.range.nbytes() == span.source_offset;
        return before.how == span.how && (span.how != FileSpan::How::copied || same_source);
    }

    std::vector<FileSpan> spans_;
};

SpanPlanner::SpanPlanner(std::shared_ptr<const File> file, std::span<const pt::UnknownChecksum> records)
    : file_(std::move(file)), records_(records) {
    if (dynamic_cast<const VirtualFile*>(file_.get()) == nullptr) {
        own_pieces_.add_source(file_.get(), 0, file_->size());
    }
}

Pieces SpanPlanner::pieces() const {
    const auto* const made_of_pieces = dynamic_cast<const VirtualFile*>(file_.get());
    return made_of_pieces != nullptr ? made_of_pieces->pieces() : own_pieces_.pieces();
}

Result<std::vector<FileSpan>> SpanPlanner::spans(const ByteRange& range) const {
    Collector out;
    auto piece_at = pieces().at(range.begin);
    for (std::uint64_t at = range.begin; at < range.end; ++piece_at) {
        const Piece piece = *piece_at;
        const ByteRange part{at, std::min(piece_at.end_offset(), range.end)};
        at = part.end;
        if (piece.kind == Piece::Kind::source) {
            CKPTFS_TRY(add_source(piece, piece_at.begin_offset(), part, out));
            continue;
        }
        const bool is_hole = piece.kind == Piece::Kind::zeros && part.nbytes() >= least_hole_nbytes;
        out.add({is_hole ? FileSpan::How::hole : FileSpan::How::read, part});
    }
    return out.take();
}

/// `begin`: where the piece begins in the file. Runs too short to be worth it are not asked for holes.
Result<void> SpanPlanner::add_source(const Piece& piece, std::uint64_t begin, const ByteRange& range,
                                     Collector& out) const {
    ByteRange data{range.begin, range.begin};
    while (data.end < range.end) {
        FileRun run{range.end - data.end, false};
        if (range.nbytes() >= least_hole_nbytes) {
            CKPTFS_ASSIGN(run, piece.file->run_at(piece.offset + data.end - begin));
        }
        const std::uint64_t end = data.end + std::min(run.nbytes, range.end - data.end);
        if (run.is_hole && end - data.end >= least_hole_nbytes) {
            add_data(piece, begin, data, out);
            out.add({FileSpan::How::hole, {data.end, end}});
            data.begin = end;
        }
        data.end = end;
    }
    add_data(piece, begin, data, out);
    return {};
}

/// Copied where no checksum needs the bytes, from where a block begins: no file system shares what begins elsewhere.
void SpanPlanner::add_data(const Piece& piece, std::uint64_t begin, ByteRange range, Collector& out) const {
    const auto add = [&](FileSpan::How how, const ByteRange& part) {
        const std::uint64_t source_offset = piece.offset + part.begin - begin;
        const bool can_share = source_offset % shared_block_nbytes == part.begin % shared_block_nbytes;
        const std::uint64_t head = (shared_block_nbytes - part.begin % shared_block_nbytes) % shared_block_nbytes;
        if (how == FileSpan::How::copied && can_share && part.nbytes() >= head + least_copy_nbytes) {
            out.add({FileSpan::How::read, {part.begin, part.begin + head}});
            out.add({how, {part.begin + head, part.end}, piece.file, source_offset + head});
        } else {
            out.add({FileSpan::How::read, part});
        }
    };
    auto record = std::partition_point(records_.begin(), records_.end(), [&](const pt::UnknownChecksum& one) {
        return one.data_offset + one.nbytes <= range.begin;
    });
    for (; record != records_.end() && record->data_offset < range.end; ++record) {
        const ByteRange checked = range.common({record->data_offset, record->data_offset + record->nbytes});
        add(FileSpan::How::copied, {range.begin, checked.begin});
        add(FileSpan::How::read, checked);
        range.begin = checked.end;
    }
    add(FileSpan::How::copied, range);
}

}  // namespace ckptfs::exporting
