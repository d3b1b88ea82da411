// From the rule of a parameter and the shapes of its slices to the parts that make it whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "model/elements.h"
#include "zero/slice_rules.h"

namespace ckptfs::zero {

/// Of each row of the whole parameter: `width_numel` elements of a rank's slice, from `first_numel` of its row on.
struct SlicePart {
    std::size_t rank = 0;
    std::uint64_t first_numel = 0;
    std::uint64_t width_numel = 0;
};

/// Pure arithmetic: holds for the weight, the master and every element-wise state alike.
struct SlicePlan {
    std::vector<std::uint64_t> shape;  ///< of the whole parameter
    std::uint64_t numel = 0;
    std::uint64_t rows = 1;        ///< that stand before the axis along which it was cut
    std::vector<SlicePart> parts;  ///< in the order in which they follow one another in a row

    /// `slices`: by rank, of the shapes that the plan was made for.
    [[nodiscard]] model::Elements apply(std::span<const model::Elements> slices) const;
};

/// `shapes`: of the parameter on each rank. `inconsistent` where they do not fit the rule or are not as many as the
/// ranks that it speaks of, and for more sub-parameters than any model has; `unsupported` for means,
/// which no bytes of a file are, and for affine maps that scale or do not cut along one axis. Errors name the
/// parameter.
Result<SlicePlan> plan_slices(const std::string& name, const SliceRule& rule,
                              std::span<const std::vector<std::uint64_t>> shapes);

/// How long each sub-parameter is along its axis, also where the form says no more than how many there are. Errors as
/// plan_slices().
Result<std::vector<std::uint64_t>> sub_parameter_sizes(const std::string& name, const SubParameterSlices& form,
                                                       std::span<const std::vector<std::uint64_t>> shapes);

}  // namespace ckptfs::zero
