// How much of the machine this process may have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ckptfs {

/// The least of the host's memory, of the limits of the cgroups that the process is in (version 1 and 2, each with all
/// those above it, as far as they can be seen) and of RLIMIT_AS, in bytes. `root` stands before every path that is
/// read, for tests: those of a machine that is described there.
[[nodiscard]] std::uint64_t memory_limit(const std::string& root = "");

/// How many processors the calling thread may run on: its affinity, which cpusets limit.
[[nodiscard]] std::size_t processors_to_run_on();
/// `present` processors, or as many as the process's cgroups let it have the time of, where that is less; a part of one
/// counts as one. At least 1.
[[nodiscard]] std::size_t processor_limit(std::size_t present, const std::string& root = "");
/// Both together, as they were when they were first asked for.
[[nodiscard]] std::size_t processors();

}  // namespace ckptfs
