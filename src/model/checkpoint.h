// What a checkpoint holds, whatever format it was written in: parameters with their weights, masters and optimizer
// states, buffers, and the numbers that belong to the training. Metadata only; Elements say where the data lies.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "model/elements.h"

namespace ckptfs::model {

/// A number or word that is no tensor: a hyper-parameter, a step.
using Scalar = std::variant<bool, std::int64_t, double, std::string>;

/// In the order in which the checkpoint names them.
using Scalars = std::vector<std::pair<std::string, Scalar>>;

struct Tensor {
    std::string name;
    std::vector<std::uint64_t> shape;
    Elements elements;
};

/// A parameter, of which an optimizer keeps the fp32 master where it is trainable.
struct Parameter {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;
    std::optional<bool> trainable = true;  ///< nullopt where the checkpoint does not tell (ZeRO stage 0)
    /// As the engine computes with it; absent where the checkpoint keeps masters alone (ZeRO-3).
    std::optional<Elements> weight;
    std::optional<Elements> master;  ///< absent where there is no optimizer, or what it keeps was not read
    std::vector<Elements> states;    ///< element-wise optimizer states: one for each of the group's `states`
    /// The dtype that the engine computes with, also where `weight` is absent.
    DType dtype = DType::float32;
};

/// Parameters that one set of hyper-parameters steps.
struct Group {
    std::vector<Parameter> parameters;  ///< in optimizer order
    std::vector<std::string> states;    ///< names of the element-wise states: "exp_avg"
    Scalars hyper_parameters;           ///< "lr", "betas[0]" …
    std::optional<double> step;         ///< that the optimizer is at; absent where it counts none
};

/// A name in the module that is a second name of a tensor.
struct TiedName {
    std::string name;
    std::string of;  ///< the name under which the tensor stands
};

/// The part of the model that one place in tensor and pipeline parallelism holds; without model parallelism all of it.
struct Rank {
    std::string name;  ///< as the files number it
    std::vector<Group> groups;
    std::vector<Parameter> frozen;  ///< parameters that no optimizer steps
    std::vector<Tensor> buffers;
    std::vector<TiedName> tied;
    /// Every name of the module in its order, tied names and buffers included; empty where the checkpoint has no order.
    std::vector<std::string> order;
};

struct Checkpoint {
    std::vector<Rank> ranks;
    std::optional<std::int64_t> global_steps;
    /// What the files hold or name and this does not, a whole sentence for each tensor: a view that would show such a
    /// tensor must say so rather than leave it out.
    std::vector<std::string> gaps;
};

}  // namespace ckptfs::model
