// Pieces put in order: empty ones dropped, neighbours joined.
#include <limits>

#include "ckptfs/extent.h"
#include "util/checked.h"

namespace ckptfs {
namespace {

/// Whether `next` goes on exactly where `previous` ends, so that one piece says the same as both.
bool continues(const Piece& previous, const Piece& next) {
    if (previous.kind != next.kind) {
        return false;
    }
    if (next.kind == Piece::Kind::zeros) {
        return true;
    }
    return previous.file == next.file && checked_add(previous.offset, previous.length) == next.offset;
}

}  // namespace

void PieceList::add_source(const File* file, std::uint64_t offset, std::uint64_t length) {
    add({Piece::Kind::source, file, offset, length});
}

void PieceList::add_zeros(std::uint64_t length) {
    add({Piece::Kind::zeros, nullptr, 0, length});
}

void PieceList::add_literal(std::string_view bytes) {
    const std::uint64_t offset = literals_.size();
    literals_.append(bytes);
    add({Piece::Kind::literal, nullptr, offset, bytes.size()});
}

void PieceList::append(const PieceList& other) {
    const std::uint64_t shift = literals_.size();
    const std::size_t count = other.pieces_.size();
    literals_.append(other.literals_);
    const std::vector<const File*> origins = other.origins_;  // `other` may be this one
    origins_.insert(origins_.end(), origins.begin(), origins.end());
    for (std::size_t i = 0; i < count; ++i) {
        Piece piece = other.pieces_[i];
        if (piece.kind == Piece::Kind::literal) {
            piece.offset += shift;
        }
        add(piece);
    }
}

void PieceList::add(const Piece& piece) {
    if (piece.length == 0) {
        return;
    }
    // A sum that does not fit sticks at the largest number, which VirtualFile::create refuses.
    nbytes_ = checked_add(nbytes_, piece.length).value_or(std::numeric_limits<std::uint64_t>::max());
    if (!pieces_.empty() && continues(pieces_.back(), piece)) {
        if (const auto joined = checked_add(pieces_.back().length, piece.length)) {
            pieces_.back().length = *joined;
            return;
        }
    }
    pieces_.push_back(piece);
}

}  // namespace ckptfs
