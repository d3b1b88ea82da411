// Reads of a virtual file: each becomes a gather over the pieces that the window touches.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>

#include "ckptfs/extent.h"
#include "util/checked.h"
#include "util/memory_budget.h"

namespace ckptfs {
namespace {

/// Neighbouring source runs with at most this much between them are worth one read.
constexpr std::uint64_t largest_gap = std::uint64_t{16} << 10;
/// What one such read may cover, gaps included; also the size of the scratch buffer. Longer runs go straight to the
/// caller.
constexpr std::uint64_t largest_span = std::uint64_t{128} << 10;
/// Pieces that are handed over have so many bytes on average: each costs a call, and begins and ends on pages that it
/// shares with nobody, of which a target has few.
constexpr std::uint64_t smallest_handed_over = std::uint64_t{256} << 10;

bool hand_over_zeros(std::uint64_t nbytes, PageTarget& target) {
    static constexpr std::array<std::byte, 4096> zeros{};
    for (; nbytes > 0; nbytes -= std::min<std::uint64_t>(nbytes, zeros.size())) {
        if (!target.take(std::span(zeros).first(std::min<std::uint64_t>(nbytes, zeros.size())))) {
            return false;
        }
    }
    return true;
}

/// The part of a source piece that falls into the window, and where it goes.
struct Run {
    const File* file = nullptr;
    std::uint64_t offset = 0;
    std::span<std::byte> out;

    [[nodiscard]] std::uint64_t end() const { return offset + out.size(); }
};

/// What one read of a source covers.
struct Span {
    const File* file = nullptr;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    /// Whether that read is to cover these bytes too.
    [[nodiscard]] bool takes(const File* other, std::uint64_t offset, std::uint64_t nbytes) const {
        return file == other && offset >= end && offset - end <= largest_gap && offset + nbytes - begin <= largest_span;
    }
};

/// Collects source runs that lie close together and reads them at once.
class Gather {
 public:
    /// `read`: what was read from.
    explicit Gather(FilesRead& read) : read_(read) {}

    Result<void> add(const Run& run) {
        if (joins(run)) {
            runs_.push_back(run);
            return {};
        }
        CKPTFS_TRY(flush());
        runs_.push_back(run);
        return {};
    }

    Result<void> flush() {
        if (runs_.empty()) {
            return {};
        }
        Result<void> result = runs_.size() == 1
                                  ? runs_.front().file->read_unchecked(runs_.front().offset, runs_.front().out, read_)
                                  : scatter();
        runs_.clear();
        return result;
    }

 private:
    [[nodiscard]] bool joins(const Run& run) const {
        if (runs_.empty()) {
            return false;
        }
        const Span span{runs_.back().file, runs_.front().offset, runs_.back().end()};
        return span.takes(run.file, run.offset, run.out.size());
    }

    Result<void> scatter() {
        if (!scratch_) {
            scratch_ = std::make_unique_for_overwrite<std::byte[]>(largest_span);  // NOLINT(modernize-avoid-c-arrays)
        }
        const std::uint64_t start = runs_.front().offset;
        CKPTFS_TRY(runs_.front().file->read_unchecked(start, {scratch_.get(), runs_.back().end() - start}, read_));
        for (const Run& run : runs_) {
            std::memcpy(run.out.data(), scratch_.get() + (run.offset - start), run.out.size());
        }
        return {};
    }

    FilesRead& read_;
    std::vector<Run> runs_;
    std::unique_ptr<std::byte[]> scratch_;  // NOLINT(modernize-avoid-c-arrays)
};

}  // namespace

Result<std::shared_ptr<const VirtualFile>> VirtualFile::create(std::string name, PieceList pieces,
                                                               std::shared_ptr<const void> owner) {
    for (const Piece piece : pieces.pieces()) {
        const bool sound = [&] {
            switch (piece.kind) {
                case Piece::Kind::source:
                    return piece.file != nullptr && fits(piece.offset, piece.length, piece.file->size());
                case Piece::Kind::literal:
                    return fits(piece.offset, piece.length, pieces.literals().size());
                case Piece::Kind::zeros:
                    return true;
            }
            return false;
        }();
        if (!sound) {
            return Error(ErrorCode::internal, "'" + name + "' was built from bytes " + std::to_string(piece.offset) +
                                                  " to " + std::to_string(piece.offset + piece.length) + " of " +
                                                  (piece.file != nullptr ? "'" + piece.file->name() + "'" : "nothing") +
                                                  ", which does not have them");
        }
    }
    if (pieces.nbytes() == std::numeric_limits<std::uint64_t>::max()) {
        return Error(ErrorCode::internal, "the size of '" + name + "' does not fit into 64 bits");
    }
    pieces.shrink();
    MemoryBudget& budget = MemoryBudget::of_process();
    auto memory = std::make_shared<MemoryReservation>(budget);
    std::shared_ptr<const VirtualFile> file(
        new VirtualFile(std::move(name), std::move(pieces), std::move(owner), memory));
    if (!memory->resize(file->memory_nbytes())) {
        return Error(ErrorCode::io,
                     "what '" + file->name() + "' is made of takes " + std::to_string(file->memory_nbytes()) +
                         " bytes of memory, where all that is open may take " + std::to_string(budget.limit()) + " " +
                         MemoryBudget::how_to_raise_limit(),
                     ENOMEM);
    }
    return file;
}

VirtualFile::VirtualFile(std::string name, PieceList list, std::shared_ptr<const void> owner,
                         std::shared_ptr<const MemoryReservation> memory)
    : name_(std::move(name)), list_(std::move(list)), owner_(std::move(owner)), memory_(std::move(memory)) {}

std::vector<std::string> VirtualFile::source_names() const {
    std::vector<std::string> names;
    std::unordered_set<std::string> seen_names;
    for (const File* const file : list_.files_) {
        for (std::string& name : file->source_names()) {
            if (seen_names.insert(name).second) {
                names.push_back(std::move(name));
            }
        }
    }
    return names;
}

Result<void> VirtualFile::read(std::uint64_t offset, std::span<std::byte> out) const {
    FilesRead read;
    CKPTFS_TRY(read_unchecked(offset, out, read));
    return read.check();
}

Result<void> VirtualFile::check() const {
    std::vector<const File*> files;
    add_origins(files);
    FilesRead read;
    for (const File* const file : files) {
        read.add(file);
    }
    return read.check();
}

void VirtualFile::add_origins(std::vector<const File*>& out) const {
    std::vector<const File*> files = list_.origins_;
    files.insert(files.end(), list_.files_.begin(), list_.files_.end());
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    for (const File* const file : files) {
        file->add_origins(out);
    }
}

Result<void> VirtualFile::expect_within(std::uint64_t offset, std::uint64_t nbytes) const {
    if (fits(offset, nbytes, size())) {
        return {};
    }
    return Error(ErrorCode::invalid_argument, "bytes " + std::to_string(offset) + " to " +
                                                  std::to_string(offset + nbytes) + " of '" + name_ +
                                                  "' were asked for, which has " + std::to_string(size()));
}

Result<bool> VirtualFile::hand_over_unchecked(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target,
                                              FilesRead& read) const {
    CKPTFS_TRY(expect_within(offset, nbytes));
    const std::uint64_t end = offset + nbytes;
    std::uint64_t count = 0;
    for (auto at = pieces().at(offset); at != pieces().end() && at.begin_offset() < end; ++at) {
        if (++count * smallest_handed_over > nbytes) {
            return false;
        }
    }
    for (auto at = pieces().at(offset); offset < end; ++at) {
        const Piece piece = *at;
        const std::uint64_t within = offset - at.begin_offset();
        const std::uint64_t length = std::min(piece.length - within, end - offset);
        bool is_taken = false;
        switch (piece.kind) {
            case Piece::Kind::source: {
                CKPTFS_ASSIGN(is_taken, piece.file->hand_over_unchecked(piece.offset + within, length, target, read));
                break;
            }
            case Piece::Kind::zeros:
                is_taken = hand_over_zeros(length, target);
                break;
            case Piece::Kind::literal:
                is_taken =
                    target.take(std::as_bytes(std::span(list_.literals())).subspan(piece.offset + within, length));
                break;
        }
        if (!is_taken) {
            return false;
        }
        offset += length;
    }
    return true;
}

Result<void> VirtualFile::read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const {
    CKPTFS_TRY(expect_within(offset, out.size()));
    Gather gather(read);
    for (auto at = pieces().at(offset); !out.empty(); ++at) {
        const Piece piece = *at;
        const std::uint64_t within = offset - at.begin_offset();
        const std::span<std::byte> part = out.first(std::min<std::uint64_t>(piece.length - within, out.size()));
        switch (piece.kind) {
            case Piece::Kind::source:
                CKPTFS_TRY(gather.add({piece.file, piece.offset + within, part}));
                break;
            case Piece::Kind::zeros:
                std::memset(part.data(), 0, part.size());
                break;
            case Piece::Kind::literal:
                std::memcpy(part.data(), list_.literals().data() + piece.offset + within, part.size());
                break;
        }
        out = out.subspan(part.size());
        offset += part.size();
    }
    return gather.flush();
}

std::vector<std::uint64_t> VirtualFile::separate_reads(std::uint64_t offset, std::uint64_t nbytes) const {
    std::vector<std::uint64_t> begins;
    Span span;
    const std::uint64_t end = std::min(size(), checked_add(offset, nbytes).value_or(size()));
    auto next = pieces().at(offset);
    for (std::uint64_t at = offset; at < end; ++next) {
        const Piece piece = *next;
        const std::uint64_t length = std::min(next.end_offset(), end) - at;
        if (piece.kind == Piece::Kind::source) {
            const std::uint64_t from = piece.offset + (at - next.begin_offset());
            if (span.takes(piece.file, from, length)) {
                span.end = from + length;
            } else {
                if (span.file != nullptr) {
                    begins.push_back(at);
                }
                span = {piece.file, from, from + length};
            }
        }
        at += length;
    }
    return begins;
}

OpenDescriptor VirtualFile::whole_file() const {
    if (pieces().size() != 1) {
        return {};
    }
    const Piece piece = pieces().front();
    const bool is_whole = piece.kind == Piece::Kind::source && piece.offset == 0 && piece.length == piece.file->size();
    return is_whole ? piece.file->whole_file() : OpenDescriptor{};
}

Result<FileRun> VirtualFile::run_at(std::uint64_t offset) const {
    const auto at = pieces().at(offset);
    if (at == pieces().end()) {
        return Error(ErrorCode::invalid_argument,
                     "byte " + std::to_string(offset) + " of '" + name_ + "' lies behind its end");
    }
    const Piece piece = *at;
    const std::uint64_t left = at.end_offset() - offset;
    if (piece.kind != Piece::Kind::source) {
        return FileRun{left, piece.kind == Piece::Kind::zeros};
    }
    CKPTFS_ASSIGN(const FileRun run, piece.file->run_at(piece.offset + piece.length - left));
    return FileRun{std::min(run.nbytes, left), run.is_hole};
}

std::uint64_t VirtualFile::memory_nbytes() const {
    const std::size_t pointers = list_.files_.capacity() + list_.origins_.capacity();
    return sizeof(*this) + name_.capacity() + list_.literals().capacity() +
           list_.strips_.capacity() * sizeof(PieceList::Strip) + pointers * sizeof(void*);
}

}  // namespace ckptfs
