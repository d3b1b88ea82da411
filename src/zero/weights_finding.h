// What weights that are not their masters say of two saves. Training changes parameters, wherever they lie; a save that
// was not finished leaves files, whatever they hold. So the elements that differ are looked at by parameter and by
// file.
#pragma once

#include <string>

#include "zero/weights_comparison.h"
#include "zero/written.h"

namespace ckptfs::zero {

struct WeightsFinding {
    bool differ = false;  ///< some elements do
    /// Some fit where others do not, and no change of parameters would leave them so:
    /// - those of a parameter differ on some ranks, and on another that holds some of it none does,
    /// - those of a rank, or of a file of weights, differ in most of what it holds, and another has none that does.
    /// Each only where chance would hardly leave so many on the one side.
    bool mixed = false;
    std::string text;  ///< names ranks and parameters; empty where none differ
};

WeightsFinding weights_finding(const Written& checkpoint, const WeightsComparison& weights);

}  // namespace ckptfs::zero
