// Reads a checkpoint's files whole and checks the CRC of every record that has one.
#pragma once

#include <cstdint>

#include "ckptfs/result.h"
#include "verify/problems.h"
#include "zero/written.h"

namespace ckptfs::verify {

struct FileTotals {
    std::uint64_t files = 0;
    std::uint64_t records = 0;
    std::uint64_t records_without_crc = 0;
    std::uint64_t nbytes = 0;  ///< of records
};

/// By as many threads as there are processors, up to 16, with one block of memory each, whatever the files' size.
/// Damage goes to `problems`; an error where the files cannot be read.
Result<FileTotals> verify_files(const zero::Written& checkpoint, Problems& problems);

}  // namespace ckptfs::verify
