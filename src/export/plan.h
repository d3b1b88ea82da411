// What an export writes: every entry of the tree that is shown, as it was at one moment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/segments.h"

namespace ckptfs::exporting {

struct PlannedEntry {
    std::string path;  ///< relative to the root; "" for the root itself
    FileInfo info;     ///< type: regular, directory or symlink
    std::string link;  ///< where a symbolic link leads
};

struct Plan {
    std::vector<PlannedEntry> entries;  ///< a directory before what is in it, siblings sorted by name
    std::vector<std::size_t> files;     ///< of `entries`: the regular ones, in that order
    std::vector<std::string> left_out;  ///< fifos, sockets and devices
    std::uint64_t nbytes = 0;           ///< of all files

    std::uint64_t segment_nbytes = default_segment_nbytes;

    [[nodiscard]] const PlannedEntry& file(std::size_t number) const { return entries[files[number]]; }
    [[nodiscard]] FileSegments segments(std::size_t number) const {
        return {file(number).info.stamp.size, segment_nbytes};
    }
};

/// Work is counted out in segments beforehand: 256 TiB of them, as they are cut without a request for less.
inline constexpr std::uint64_t most_segments = std::uint64_t{1} << 22U;

/// Walks the whole tree. Reads no file. `unsupported` where it has more than most_segments.
Result<Plan> make_plan(const Source& tree, std::uint64_t segment_nbytes);

/// What in an entry decides about its bytes, in one line without blanks in names: equal lines are the same generation
/// of the same entry. Times of directories are left out, since they change with what others put there.
[[nodiscard]] std::string identity_line(const PlannedEntry& entry);

}  // namespace ckptfs::exporting
