// The command line as a function: what main() calls, and what tests call in process.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "cli/environment.h"

namespace ckptfs::cli {

/// Runs one command line (without the program's name) and returns its exit status (see exit_code.h).
/// A failure is exactly one line on environment.error, "ckptfs: ...", and in `failed`, unless another process failed.
/// Throws nothing.
int run(const std::vector<std::string>& arguments, const Environment& environment,
        std::optional<Error>* failed = nullptr) noexcept;

}  // namespace ckptfs::cli
