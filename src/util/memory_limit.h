// How much memory the machine lets this process have.
#pragma once

#include <cstdint>
#include <string>

namespace ckptfs {

/// The least of the host's memory, of the limits of the cgroups that the process is in (version 1 and 2, each with all
/// those above it, as far as they can be seen) and of RLIMIT_AS, in bytes. `root` stands before every path that is
/// read, for tests: those of a machine that is described there.
[[nodiscard]] std::uint64_t memory_limit(const std::string& root = "");

}  // namespace ckptfs
