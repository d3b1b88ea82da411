// Piece by piece, without a virtual file around them.
#include "verify/read_pieces.h"

#include <algorithm>
#include <string>

namespace ckptfs::verify {

Result<void> read_pieces(const PieceList& list, std::span<std::byte> out) {
    if (list.nbytes() != out.size()) {
        return Error(ErrorCode::internal, "the pieces of a block hold " + std::to_string(list.nbytes()) +
                                              " bytes instead of " + std::to_string(out.size()));
    }
    for (const Piece piece : list.pieces()) {
        const auto part = out.first(piece.length);
        out = out.subspan(piece.length);
        switch (piece.kind) {
            case Piece::Kind::source:
                CKPTFS_TRY(piece.file->read(piece.offset, part));
                break;
            case Piece::Kind::zeros:
                std::fill(part.begin(), part.end(), std::byte{0});
                break;
            case Piece::Kind::literal:
                return Error(ErrorCode::internal, "elements of a tensor are literal bytes");
        }
    }
    return {};
}

}  // namespace ckptfs::verify
