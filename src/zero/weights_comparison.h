// Whether the weights in a checkpoint are its fp32 masters, rounded: they are in every save that DeepSpeed makes, and
// are not where the two come from different saves. Stages 1 and 2, and pipelines; stage 3 keeps no weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Of those elements of a parameter that one rank has the masters of.
struct ParameterWeights {
    const std::string* name = nullptr;  ///< the checkpoint's
    const File* file = nullptr;         ///< that holds the weights
    std::uint64_t compared_numel = 0;
    std::uint64_t different_numel = 0;
};

/// What one rank's masters say of the weights that they belong to.
struct RankWeights {
    std::size_t family = 0;  ///< index of its Family
    std::uint64_t rank = 0;  ///< data-parallel
    std::uint64_t compared_numel = 0;
    std::uint64_t different_numel = 0;
    std::vector<ParameterWeights> parameters;  ///< those of which an element was compared, each once
};

struct WeightsComparison {
    /// Those with a master to compare; empty where no weights are kept.
    std::vector<RankWeights> ranks;

    [[nodiscard]] std::uint64_t compared_numel() const;
    [[nodiscard]] std::uint64_t different_numel() const;
    /// Whether elements differ on some ranks, and on others none of those that were compared.
    [[nodiscard]] bool ranks_are_unlike() const;
};

/// What sample_weights() reads at most: this many runs of neighbouring elements of each rank and group, fewer where
/// there are so many ranks and groups that max_sampled_runs are exceeded, but always one.
inline constexpr std::uint64_t sampled_runs = 8;
inline constexpr std::uint64_t sampled_run_numel = 16;
inline constexpr std::uint64_t max_sampled_runs = 2048;

/// What it reads besides, only where the sample finds ranks unlike each other.
inline constexpr std::uint64_t closer_runs = 64;
inline constexpr std::uint64_t closer_run_numel = 4096;
inline constexpr std::uint64_t max_closer_runs = 4096;

/// Compares a few elements of every rank and group, spread over its partition, always the same ones. Where they differ
/// on some ranks only, what is returned is a closer look at all ranks: a few differences that are spread over all ranks
/// are in the sample of some.
Result<WeightsComparison> sample_weights(const Written& checkpoint);

}  // namespace ckptfs::zero
