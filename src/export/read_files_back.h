// Compares all files that were written with what is shown.
#pragma once

#include <functional>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/counters.h"
#include "export/partial.h"
#include "export/plan.h"
#include "export/write_calls.h"
#include "export/write_files.h"

namespace ckptfs::exporting {

/// `verification` where a file is not as it was written; the journal forgets it, so that a later run writes it anew.
Result<void> read_files_back(const Source& tree, const Plan& plan, const Partial& partial, const WorkSettings& settings,
                             const WriteCalls& calls, Counters& counters, const std::function<bool()>& stops);

}  // namespace ckptfs::exporting
