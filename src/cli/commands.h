// The three commands. Each does its work through the environment; an error is the sentence for standard error.
#pragma once

#include "ckptfs/result.h"
#include "cli/arguments.h"
#include "cli/environment.h"

namespace ckptfs::cli {

/// Finds a whole tag and mounts. Returns when the mount answers or, in the foreground, when it is gone.
StartReport mount(const MountArguments& arguments, const Environment& environment);

/// Prints what the checkpoint is.
Result<void> inspect(const InspectArguments& arguments, const Environment& environment);

/// Prints what was verified and a verdict. `verification` when a problem was found.
Result<void> verify(const VerifyArguments& arguments, const Environment& environment);

/// The exit status and the sentence of a result. Every status of the program but a crash's comes from here.
[[nodiscard]] StartReport report_of(const Result<void>& result);

}  // namespace ckptfs::cli
