// DeepSpeed's batch arithmetic: train_batch_size = micro batch per GPU x accumulation steps x data-parallel ranks.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::report {

/// All in samples per optimizer step (train), per rank and pass (micro), passes (accumulation).
struct Batch {
    std::uint64_t train = 0;
    std::uint64_t micro = 0;
    std::uint64_t accumulation = 0;
};

/// What `config` comes to at `dp_world_size`, by the rules of runtime/config.py _set_batch_related_parameters.
/// nullopt where it says nothing, or "auto" (Hugging Face fills it in). `invalid_argument` where DeepSpeed would stop:
/// numbers that do not multiply up, with what they are.
Result<std::optional<Batch>> batch_of(const nlohmann::json& config, std::uint64_t dp_world_size);

/// The most choices that batch_choices() gives.
inline constexpr std::size_t max_batch_choices = 8;

/// The ways to `train` samples a step at `dp_world_size`: first the micro batches up to `micro`, which fit the memory
/// that it fitted, the largest of them first; then the larger ones. Empty where dp_world_size does not divide `train`.
[[nodiscard]] std::vector<Batch> batch_choices(std::uint64_t train, std::uint64_t micro, std::uint64_t dp_world_size);

}  // namespace ckptfs::report
