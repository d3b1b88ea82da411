// Whether the weights in a checkpoint are its fp32 masters, rounded: they are in every save that DeepSpeed makes, and
// are not where the two come from different saves. Stages 1 and 2, and pipelines; stage 3 keeps no weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "zero/checkpoint.h"

namespace ckptfs::zero {

/// What one rank's masters say of the weights that they belong to.
struct RankWeights {
    std::size_t family = 0;  ///< index of its ModelParallelRank
    std::uint64_t rank = 0;  ///< data-parallel
    std::uint64_t compared_numel = 0;
    std::uint64_t different_numel = 0;
    std::vector<std::string> parameters;  ///< the first few of which an element differs
};

struct WeightsComparison {
    static constexpr std::size_t max_named_parameters = 3;

    /// Those with a master to compare; empty where no weights are kept.
    std::vector<RankWeights> ranks;

    [[nodiscard]] std::uint64_t compared_numel() const;
    [[nodiscard]] std::uint64_t different_numel() const;
};

/// What sample_weights() reads at most: this many runs of neighbouring elements of each rank and group, fewer where
/// there are so many ranks and groups that max_sampled_runs are exceeded, but always one.
inline constexpr std::uint64_t sampled_runs = 8;
inline constexpr std::uint64_t sampled_run_numel = 16;
inline constexpr std::uint64_t max_sampled_runs = 2048;

/// Compares a few elements of every rank and group, spread over its partition, always the same ones.
Result<WeightsComparison> sample_weights(const Checkpoint& checkpoint);
/// Compares every element, a block at a time.
Result<WeightsComparison> compare_weights(const Checkpoint& checkpoint);

}  // namespace ckptfs::zero
