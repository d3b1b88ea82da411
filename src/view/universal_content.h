// What a universal checkpoint says of the parameters of a ZeRO checkpoint: whole over all ranks, each for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "model/elements.h"
#include "pt/archive.h"
#include "zero/written.h"

namespace ckptfs::view {

/// A state of a parameter, whole.
struct UniversalState {
    std::string key;  ///< "fp32", "exp_avg": the stem of its file
    model::Elements elements;
};

/// What stands beside a tensor, for the ranks that will cut it again.
struct UniversalForm {
    std::optional<std::int64_t> cat_dim;
    std::optional<std::int64_t> sub_parameters;  ///< how many there are, one after the other along axis 0
    /// An entry of parameter_with_sub_params in the first family's model states: patterns, shape, partition_dim.
    const pickle::Node* sub_parameter_shape = nullptr;
    std::vector<std::uint64_t> sub_parameter_sizes;  ///< along its axis, where that entry says no more than a count
    bool is_vocabulary = false;
};

struct UniversalParameter {
    std::string name;
    std::vector<std::uint64_t> shape;
    UniversalForm form;
    std::vector<UniversalState> states;
    std::size_t family = 0;  ///< whose optimizer counts its steps
    std::size_t group = 0;
};

/// A tensor of the module that no optimizer steps: a buffer, a frozen parameter, a second name.
struct UniversalModuleTensor {
    std::string name;
    std::vector<std::uint64_t> shape;
    model::Elements elements;
};

struct UniversalContent {
    /// In the order of the families, groups and parameters; each name once.
    std::vector<UniversalParameter> parameters;
    /// Of stages 1 and 2; names that are no parameter's.
    std::vector<UniversalModuleTensor> module_tensors;
    /// Whether tensors stand alone and flat, as at stage 3 without tensor parallelism, rather than in a dict.
    bool bare = false;
};

/// `unsupported` where the checkpoint is of stage 0, does not say how tensor-parallel ranks cut its parameters, or has
/// names that make no tree of files; `inconsistent` where a tensor-parallel rank does not have every parameter once.
/// Elements point into the checkpoint.
Result<UniversalContent> universal_content(const zero::Written& checkpoint);

/// The optimizer file of data-parallel rank 0 of a family, parsed: from memory where its tree was kept.
Result<std::shared_ptr<const pt::Archive>> first_optimizer_file(const zero::Family& family);

}  // namespace ckptfs::view
