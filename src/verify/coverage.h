// Whether a view shows every element of a state exactly once: arithmetic on pieces, nothing is read.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/extent.h"

namespace ckptfs::verify {

/// Bytes of a source file.
struct SourceRun {
    std::string_view file;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool operator==(const SourceRun&) const = default;
};

class Coverage {
 public:
    /// Compares the union of the source runs behind `view`, whose pieces lie in virtual files, with that of `source`,
    /// both of a state of the same parameters. Empty: every element exactly once. Otherwise what is wrong: shown twice,
    /// not shown, or foreign bytes.
    std::string check(const PieceList& source, const PieceList& view);

 private:
    std::vector<SourceRun> runs_behind(const PieceList& pieces);
    void resolve(const Piece& piece, std::vector<SourceRun>& out);

    std::unordered_map<const File*, std::vector<std::uint64_t>> ends_;  // of a virtual file's pieces
};

}  // namespace ckptfs::verify
