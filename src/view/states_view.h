// The optimizer without pickles: one safetensors file for each state.
#pragma once

#include "view/kind.h"
#include "view/weights_view.h"

namespace ckptfs::view {

[[nodiscard]] const Kind& states_kind();

/// "fp32.safetensors" holds the masters, "exp_avg.safetensors" and so on the states, each under the names of the
/// parameters that have it. The metadata of each has, for each group, "param_groups[0].lr" and so on as text, ".step",
/// and ".params", a JSON list of names. Errors as weights_view(); `unsupported` where the checkpoint has no masters.
Result<std::shared_ptr<const View>> states_view(const ModelSource& source, const ViewOptions& options,
                                                std::shared_ptr<FileCache> cache);

}  // namespace ckptfs::view
