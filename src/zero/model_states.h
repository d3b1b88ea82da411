// A model-states file: parameters in flat order, and, at stages 1 and 2, the flat buffers behind `module`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/result.h"
#include "pt/archive.h"
#include "zero/fields.h"
#include "zero/saved_values.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// What param_shapes and frozen_param_shapes say of a parameter.
struct Parameter {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;

    [[nodiscard]] model::Parameter in_content() const;
};

struct ModelStates {
    std::shared_ptr<const pt::Archive> archive;
    std::uint64_t world_size = 0;      ///< dp_world_size
    std::uint64_t model_parallel = 1;  ///< mp_world_size
    bool holds_optimizer = false;      ///< stage 0 keeps the optimizer in this file
    LayoutConfig config;
    std::uint64_t default_itemsize = 4;  ///< of parameters whose tensors are elsewhere (pipeline layers)
    std::string deepspeed_version;
    std::optional<std::int64_t> global_steps;
    std::vector<std::vector<Parameter>> groups;  ///< param_shapes (sub-groups at stage 3): in flat order
    std::unordered_map<std::string_view, const pickle::Node*> module;  ///< by name; keys point into the tree
    SavedValues values;
};

Result<ModelStates> read_model_states(std::shared_ptr<const File> file);
Result<ModelStates> read_model_states(std::shared_ptr<const pt::Archive> archive);

/// Names and shapes: a group's entry in param_shapes, or frozen_param_shapes.
Result<std::vector<Parameter>> read_shapes(const Field& shapes);

/// Turns the flat order of `flat_parameters`, as it was at `world_size`, into optimizer order.
[[nodiscard]] std::vector<Parameter> optimizer_order(const std::vector<Parameter>& flat_parameters,
                                                     std::uint64_t world_size, bool round_robin);

/// Finds the flat buffer of a group whose parameters, in optimizer order, are `parameters` and lie as `layout` says;
/// nullopt where its tensors have storages of their own. `inconsistent` where they share a buffer but lie otherwise.
Result<std::optional<WeightsBuffer>> find_weights(const ModelStates& states, const std::vector<Parameter>& parameters,
                                                  const FlatLayout& layout);

/// Whether `module` holds tensors of the group.
Result<bool> has_module_tensors(const ModelStates& states, const std::vector<Parameter>& parameters);

/// The element size of the group's tensors in `module`; states.default_itemsize where it has none.
Result<std::uint64_t> weights_itemsize(const ModelStates& states, const std::vector<Parameter>& parameters);

}  // namespace ckptfs::zero
