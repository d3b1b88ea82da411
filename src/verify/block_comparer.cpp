// Gathering and comparing blocks.
#include "verify/block_comparer.h"

#include <algorithm>
#include <span>
#include <string>

namespace ckptfs::verify {
namespace {

Result<void> read_pieces(const PieceList& list, std::span<std::byte> out) {
    if (list.nbytes() != out.size()) {
        return Error(ErrorCode::internal, "the pieces of a block hold " + std::to_string(list.nbytes()) +
                                              " bytes instead of " + std::to_string(out.size()));
    }
    for (const Piece& piece : list.pieces()) {
        const auto part = out.first(piece.length);
        out = out.subspan(piece.length);
        if (piece.kind == Piece::Kind::source) {
            CKPTFS_TRY(piece.file->read(piece.offset, part));
        } else {
            std::fill(part.begin(), part.end(), std::byte{0});
        }
    }
    return {};
}

}  // namespace

Result<Comparison> BlockComparer::compare(const Gather& source, const Gather& view, std::uint64_t numel,
                                          std::uint64_t itemsize) {
    const std::uint64_t block_numel = block_nbytes / itemsize;
    for (std::uint64_t from = 0; from < numel; from += block_numel) {
        const std::uint64_t count = std::min(block_numel, numel - from);
        const auto source_bytes = std::span(source_block_).first(count * itemsize);
        const auto view_bytes = std::span(view_block_).first(count * itemsize);
        PieceList source_pieces;
        source(from, count, source_pieces);
        CKPTFS_TRY(read_pieces(source_pieces, source_bytes));
        PieceList view_pieces;
        view(from, count, view_pieces);
        if (const auto result = read_pieces(view_pieces, view_bytes); !result) {
            return Comparison{.first_difference = std::nullopt, .view_error = result.error()};
        }
        compared_nbytes_ += source_bytes.size();
        const auto [mismatch, in_view] = std::mismatch(source_bytes.begin(), source_bytes.end(), view_bytes.begin());
        if (mismatch != source_bytes.end()) {
            const auto byte = static_cast<std::uint64_t>(mismatch - source_bytes.begin());
            return Comparison{.first_difference = from + byte / itemsize, .view_error = std::nullopt};
        }
    }
    return Comparison{};
}

}  // namespace ckptfs::verify
