// Resolves the pieces of a view down to source files, sorts and compares them.
#include "verify/coverage.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "util/text.h"

namespace ckptfs::verify {
namespace {

/// Bytes of a source file.
struct SourceRun {
    std::string_view file;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool operator==(const SourceRun&) const = default;
};

std::string describe_run(const SourceRun& run) {
    return "bytes " + std::to_string(run.offset) + " to " + std::to_string(run.offset + run.length) + " of " +
           in_quotes(run.file);
}

bool before(const SourceRun& a, const SourceRun& b) {
    return std::tie(a.file, a.offset, a.length) < std::tie(b.file, b.offset, b.length);
}

/// Sorts and joins neighbours. Says which run begins inside the one before it; empty if none does.
std::string normalise(std::vector<SourceRun>& runs) {
    std::sort(runs.begin(), runs.end(), before);
    std::vector<SourceRun> joined;
    for (const SourceRun& run : runs) {
        if (joined.empty() || joined.back().file != run.file ||
            joined.back().offset + joined.back().length < run.offset) {
            joined.push_back(run);
            continue;
        }
        if (joined.back().offset + joined.back().length > run.offset) {
            return describe_run(run) + " are shown more than once";
        }
        joined.back().length += run.length;
    }
    runs = std::move(joined);
    return "";
}

/// The first bytes of `runs` that are not in `others`; both sorted and joined.
std::optional<SourceRun> first_outside(const std::vector<SourceRun>& runs, const std::vector<SourceRun>& others) {
    auto other = others.begin();
    for (const SourceRun& run : runs) {
        const auto ends_before = [&](const SourceRun& candidate) {
            return std::tie(candidate.file, candidate.offset) < std::tie(run.file, run.offset) &&
                   (candidate.file != run.file || candidate.offset + candidate.length <= run.offset);
        };
        while (other != others.end() && ends_before(*other)) {
            ++other;
        }
        const std::uint64_t end = run.offset + run.length;
        if (other == others.end() || other->file != run.file || other->offset > run.offset) {
            const bool reaches_in = other != others.end() && other->file == run.file && other->offset < end;
            return SourceRun{run.file, run.offset, (reaches_in ? other->offset : end) - run.offset};
        }
        // Joined runs do not touch: what this one leaves open, no other covers at its start.
        const std::uint64_t covered = other->offset + other->length;
        if (covered < end) {
            const auto next = std::next(other);
            const bool reaches_in = next != others.end() && next->file == run.file && next->offset < end;
            return SourceRun{run.file, covered, (reaches_in ? next->offset : end) - covered};
        }
    }
    return std::nullopt;
}

void resolve(const Piece& piece, std::vector<SourceRun>& out) {
    const auto* file = dynamic_cast<const VirtualFile*>(piece.file);
    if (file == nullptr) {
        out.push_back({piece.file->name(), piece.offset, piece.length});
        return;
    }
    const std::uint64_t end = piece.offset + piece.length;
    auto at = file->pieces().at(piece.offset);
    for (std::uint64_t position = piece.offset; position < end && at != file->pieces().end(); ++at) {
        const Piece part = *at;
        const std::uint64_t length = std::min(end, at.end_offset()) - position;
        if (part.kind == Piece::Kind::source) {
            const std::uint64_t offset = part.offset + (position - at.begin_offset());
            resolve({.kind = part.kind, .file = part.file, .offset = offset, .length = length}, out);
        }
        position += length;
    }
}

std::vector<SourceRun> runs_behind(const PieceList& pieces) {
    std::vector<SourceRun> runs;
    for (const Piece piece : pieces.pieces()) {
        if (piece.kind == Piece::Kind::source) {
            resolve(piece, runs);
        }
    }
    return runs;
}

}  // namespace

std::string fault_in_coverage(const PieceList& source, const PieceList& view) {
    std::vector<SourceRun> expected = runs_behind(source);
    std::vector<SourceRun> found = runs_behind(view);
    if (const std::string overlap = normalise(expected); !overlap.empty()) {
        return "in the source itself " + overlap;
    }
    if (std::string overlap = normalise(found); !overlap.empty()) {
        return overlap;
    }
    if (const auto missing = first_outside(expected, found)) {
        return describe_run(*missing) + " are shown nowhere";
    }
    if (const auto foreign = first_outside(found, expected)) {
        return describe_run(*foreign) + " are shown, but do not belong to the state";
    }
    return "";
}

}  // namespace ckptfs::verify
