// Whether what is still to be written will fit, before it is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/plan.h"
#include "export/segments.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

/// `root`: where the tree is written. `io` with ENOSPC where the file system has less room than the bytes that are no
/// holes take; files are opened only if it has less than their sizes. Where a file system may share blocks, those that
/// the system copies are not counted; if it would not fit with them, `warn` hears of it. What nobody can know, such as
/// a quota, may still end the export later.
Result<void> expect_space(const Source& tree, const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished,
                          const std::string& root, const WriteCalls& calls,
                          const std::function<void(const std::string&)>& warn);

}  // namespace ckptfs::exporting
