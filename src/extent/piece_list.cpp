// Pieces put in order: empty ones dropped, neighbours joined, strips found.
#include <algorithm>
#include <limits>
#include <optional>

#include "ckptfs/extent.h"
#include "util/checked.h"

namespace ckptfs {
namespace {

/// Among so few files the number of one is looked for.
constexpr std::size_t few_files = 16;

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
    if (&other == this) {
        append(PieceList(other));
        return;
    }
    const std::uint64_t shift = literals_.size();
    literals_.append(other.literals_);
    origins_.insert(origins_.end(), other.origins_.begin(), other.origins_.end());
    for (Piece piece : other.pieces()) {
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
    if (!strips_.empty() && lengthens_last(piece)) {
        return;
    }
    ++count_;
    const std::uint32_t number = number_of(piece);
    if (!strips_.empty() && piece.kind == Piece::Kind::source) {
        Strip& last = strips_.back();
        if (last.file < literal_number && number == last.file + last.count && last.offset == piece.offset &&
            last.length == piece.length) {
            ++last.count;
            last.end = nbytes_;
            return;
        }
    }
    strips_.push_back({nbytes_, piece.offset, piece.length, number, 1});
}

Piece PieceList::piece_of(const Strip& strip, std::uint32_t index) const {
    switch (strip.file) {
        case zeros_number:
            return {Piece::Kind::zeros, nullptr, 0, strip.length};
        case literal_number:
            return {Piece::Kind::literal, nullptr, strip.offset, strip.length};
        default:
            return {Piece::Kind::source, files_[strip.file + index], strip.offset, strip.length};
    }
}

bool PieceList::lengthens_last(const Piece& piece) {
    Strip& last = strips_.back();
    const Piece before = piece_of(last, last.count - 1);
    const auto joined = continues(before, piece) ? checked_add(before.length, piece.length) : std::nullopt;
    if (!joined) {
        return false;
    }
    if (last.count == 1) {
        last.length = *joined;
        last.end = nbytes_;
        return true;
    }
    --last.count;
    last.end -= last.length;
    const std::uint32_t number = last.file + last.count;
    strips_.push_back({nbytes_, piece.offset - before.length, *joined, number, 1});
    return true;
}

std::uint32_t PieceList::number_of(const Piece& piece) {
    if (piece.kind != Piece::Kind::source) {
        return piece.kind == Piece::Kind::zeros ? zeros_number : literal_number;
    }
    // Mostly it is the file of the last piece, or the one that came after it before.
    for (const std::uint32_t likely : {last_number_, last_number_ + 1}) {
        if (likely < files_.size() && files_[likely] == piece.file) {
            return last_number_ = likely;
        }
    }
    if (files_.size() < few_files) {
        const auto found = std::find(files_.begin(), files_.end(), piece.file);
        last_number_ = static_cast<std::uint32_t>(found - files_.begin());
        if (found == files_.end()) {
            files_.push_back(piece.file);
        }
        return last_number_;
    }
    if (numbers_.empty()) {
        for (const File* const file : files_) {
            numbers_.emplace(file, static_cast<std::uint32_t>(numbers_.size()));
        }
    }
    const auto [known, is_new] = numbers_.try_emplace(piece.file, static_cast<std::uint32_t>(files_.size()));
    if (is_new) {
        files_.push_back(piece.file);
    }
    return last_number_ = known->second;
}

void PieceList::shrink() {
    numbers_ = {};
    strips_.shrink_to_fit();
    files_.shrink_to_fit();
}

Pieces::Iterator Pieces::at(std::uint64_t offset) const {
    const auto& strips = list_->strips_;
    const auto strip = std::upper_bound(strips.begin(), strips.end(), offset,
                                        [](std::uint64_t at, const PieceList::Strip& one) { return at < one.end; });
    if (strip == strips.end()) {
        return end();
    }
    const std::uint64_t begin = strip->end - strip->count * strip->length;
    return {list_, static_cast<std::size_t>(strip - strips.begin()),
            static_cast<std::uint32_t>((offset - begin) / strip->length)};
}

}  // namespace ckptfs
