// What a view is asked for, and the name that says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ckptfs {

/// The largest world size that a view can be asked for.
inline constexpr std::uint64_t max_world_size = 1'048'576;

enum class ViewKind : std::uint8_t {
    world_size,  ///< the files that DeepSpeed would have written at another world size
    weights,     ///< the model alone, as inference and hubs take it
    states,      ///< the optimizer's tensors, one safetensors file for each state
    lightning,   ///< Lightning's single file in place of its directory
    universal,   ///< DeepSpeed's own exchange format, beside the tag
};

/// Of the weights: the dtype of floating-point tensors.
enum class WeightsDType : std::uint8_t {
    source,  ///< the one that the engine computed with
    fp32,    ///< the optimizer's masters
    bf16,
    fp16,
};

enum class WeightsContainer : std::uint8_t {
    safetensors,
    bin,  ///< pytorch_model.bin, as torch.save writes it
};

/// A value. Equal requests have equal names. Which names, patterns and directories a view is made with beyond that are
/// options of whoever reads the tags.
struct ViewRequest {
    ViewKind kind = ViewKind::world_size;
    std::uint64_t world_size = 0;               ///< of ViewKind::world_size: from 1 to max_world_size
    bool counts_data_parallel = false;          ///< the world size counts data-parallel ranks rather than all
    WeightsDType dtype = WeightsDType::source;  ///< of ViewKind::weights
    WeightsContainer container = WeightsContainer::safetensors;  ///< of ViewKind::weights

    [[nodiscard]] static ViewRequest at_world_size(std::uint64_t world_size, bool counts_data_parallel = false) {
        ViewRequest request;
        request.world_size = world_size;
        request.counts_data_parallel = counts_data_parallel;
        return request;
    }

    /// "world-size-8", "dp-size-4", "weights", "weights-bf16", "weights-fp32-bin", "weights-bin", "states",
    /// "lightning", "universal".
    [[nodiscard]] std::string name() const;
    /// The request that has exactly this name.
    [[nodiscard]] static std::optional<ViewRequest> parse(std::string_view name);

    bool operator==(const ViewRequest&) const = default;
};

}  // namespace ckptfs
