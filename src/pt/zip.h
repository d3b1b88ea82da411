// The zip container of a .pt file: its directory read and checked, and a new one laid out as PyTorch does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

namespace ckptfs::pt {

/// One stored (never deflated) member of the archive. All numbers are bytes.
struct Record {
    std::string name;  ///< with the archive's root directory: "archive/data/0"
    std::uint64_t header_offset = 0;
    std::uint64_t data_offset = 0;
    std::uint64_t nbytes = 0;
    std::uint32_t crc32 = 0;  ///< 0: unknown
};

/// The checked directory: every record stored, in bounds, sizes agreeing, none overlapping. Local headers are held
/// against it, except where a file in PyTorch's own layout has so many storages that a sample of theirs has to do.
/// Records come in the order of their place in the file.
/// `incomplete` where the end record is missing (a save still running or cut short), `unsupported` for legacy
/// (non-zip) files and deflated members, `damaged` for everything that contradicts itself.
Result<std::vector<Record>> read_directory(const File& file);

/// The bytes of one record, which the caller knows to be few enough for memory. Checks its CRC where the directory has
/// one (and says `damaged` where it differs).
Result<std::string> read_record(const File& file, const Record& record);

}  // namespace ckptfs::pt
