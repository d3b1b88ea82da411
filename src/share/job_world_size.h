// --world-size=auto: the number of ranks that the job around this process has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "ckptfs/result.h"

namespace ckptfs::share {

/// An environment variable; none where it is not set.
using Variables = std::function<std::optional<std::string>(const std::string& name)>;

struct JobWorldSize {
    std::uint64_t world_size = 0;
    std::string origin;   ///< for people: "WORLD_SIZE", "2 visible GPUs (CUDA_VISIBLE_DEVICES)"
    std::string warning;  ///< why the number may not be the one that is meant; empty: no reason for doubt
};

/// WORLD_SIZE, else SLURM_NTASKS, else the number of GPUs that CUDA_VISIBLE_DEVICES names, or that the driver has.
/// `root` stands for "/". `invalid_argument` where there is none of them, or the first that is there is no world size.
Result<JobWorldSize> job_world_size(const Variables& variables, const std::filesystem::path& root = "/");

}  // namespace ckptfs::share
