// What a derived view must show, taken from the model alone.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/view_request.h"
#include "model/checkpoint.h"

namespace ckptfs::verify {

/// One rank's part of a tensor; without tensor parallelism all of it.
struct TensorPart {
    model::Elements elements;
    std::vector<std::uint64_t> shape;
};

/// A tensor that a view must show: by name, and by what it is of its parameter.
struct ExpectedTensor {
    /// The names that it has in the view: its own, then those that are tied to it.
    std::vector<std::string> names;
    bool under_every_name = true;                ///< else under one of them
    std::string kind;                            ///< "weight", "fp32" (the master), or an optimizer state's name
    model::DType dtype = model::DType::float32;  ///< that the view shows it as
    std::vector<TensorPart> parts;               ///< by rank
    bool is_doubled = false;                     ///< whether one rank has two of this name and kind
    bool may_be_flat = false;                    ///< whether it may stand there as one axis
};

/// What a view calls a tensor of the model; nullopt where it is to leave it out.
using Naming = std::function<std::optional<std::string>(const std::string& name)>;

/// Weights and buffers as `dtype`. With WeightsDType::source everything has its own dtype, a parameter that which the
/// engine computes with; otherwise floating-point tensors have `dtype`: fp32 is the masters, 16 bits are the weights
/// where those have `dtype`, else the masters rounded; without a master it is the weight.
[[nodiscard]] std::vector<ExpectedTensor> expected_weights(const model::Checkpoint& checkpoint, WeightsDType dtype,
                                                           bool under_every_name, const Naming& naming);

/// The masters ("fp32") and the optimizer's element-wise states of every trainable parameter.
[[nodiscard]] std::vector<ExpectedTensor> expected_states(const model::Checkpoint& checkpoint, const Naming& naming);

/// What Lightning's file has: masters and floating-point buffers in fp32, frozen parameters as they were kept.
[[nodiscard]] std::vector<ExpectedTensor> expected_lightning(const model::Checkpoint& checkpoint, const Naming& naming);

/// What a universal checkpoint has: the same, as DeepSpeed names and shapes them; and, where the checkpoint keeps
/// weights, every other tensor of the module as an "fp32" of its own, tied names too.
[[nodiscard]] std::vector<ExpectedTensor> expected_universal(const model::Checkpoint& checkpoint, const Naming& naming);

}  // namespace ckptfs::verify
