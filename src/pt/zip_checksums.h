// Which checksums an archive leaves out, and where they would stand.
#pragma once

#include <cstdint>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

namespace ckptfs::pt {

/// A record with bytes, whose CRC is 0. All numbers are bytes.
struct UnknownChecksum {
    std::uint64_t data_offset = 0;
    std::uint64_t nbytes = 0;
    std::uint64_t local_offset = 0;      ///< of the CRC in the data descriptor, or, without one, in the local header
    std::uint64_t directory_offset = 0;  ///< of the CRC in the directory

    bool operator==(const UnknownChecksum&) const = default;
};

inline constexpr std::uint64_t checksum_nbytes = 4;

/// Whether the file begins as a zip archive does.
[[nodiscard]] Result<bool> is_archive(const File& file);

/// In the order of their places in the file. Reads the directory, and no record. Errors as read_directory().
Result<std::vector<UnknownChecksum>> unknown_checksums(const File& file);

}  // namespace ckptfs::pt
