// The log of what is on disk: a line for each segment and each complete file, written once they are.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "export/segments.h"

namespace ckptfs::exporting {

/// Of one file, by its number in the plan.
struct JournalEntry {
    enum class Kind : unsigned char {
        segment,   ///< `segment` is on disk, and gave `parts`
        complete,  ///< the file is
        anew,      ///< forget what came before about this file: its bytes turned out to be wrong
    };

    Kind kind = Kind::segment;
    std::uint64_t file = 0;
    std::uint64_t segment = 0;
    std::vector<ChecksumPart> parts = {};

    bool operator==(const JournalEntry&) const = default;
};

/// With a checksum of its own in front.
[[nodiscard]] std::string journal_line(const JournalEntry& entry);

struct LoadedJournal {
    std::map<std::uint64_t, FinishedFile> files;
    std::uint64_t nbytes = 0;  ///< of the lines that are whole; a crash may leave anything behind them
};

/// All lines up to the first that is not whole.
[[nodiscard]] LoadedJournal load_journal(std::string_view text);

}  // namespace ckptfs::exporting
