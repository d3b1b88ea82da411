// Directories and symbolic links of an export, and what is left to do once all files are there.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "export/plan.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

/// Where an entry of the plan stands: `root` itself for the path "".
[[nodiscard]] std::string place_of(const std::string& root, const PlannedEntry& entry);

/// All directories, closed to others; those that an earlier run has made are kept.
Result<void> make_directories(const Plan& plan, const std::string& root, const WriteCalls& calls);

/// Makes the links, gives directories their modes and times, and brings both to disk; files are on disk by then.
Result<void> finish_tree(const Plan& plan, const std::string& root, const WriteCalls& calls);

}  // namespace ckptfs::exporting
