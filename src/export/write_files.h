// Writes all files of a plan, by several threads at a time.
#pragma once

#include <cstddef>
#include <functional>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/counters.h"
#include "export/partial.h"
#include "export/plan.h"
#include "export/recorder.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

struct WorkSettings {
    std::size_t jobs = 1;
    std::size_t buffer_nbytes = 0;
    RecorderLimits limits;
};

/// Returns when all files are written and recorded, or something has failed; what was written whole by then is recorded
/// too.
Result<void> write_files(const Source& tree, const Plan& plan, const Partial& partial, const WorkSettings& settings,
                         const WriteCalls& calls, Counters& counters, const std::function<bool()>& stops);

}  // namespace ckptfs::exporting
