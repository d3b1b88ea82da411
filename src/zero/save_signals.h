// Signs that files which are whole come from two saves: the optimizer's step against the counters of the model states,
// and the weights against their masters. Either can be the training's own doing; both together hardly can.
#pragma once

#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "zero/weights_comparison.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// What its user should know, in sentences that begin with `path`, the tag's; empty where nothing speaks of two saves.
/// `inconsistent`, unless `accept_mixed` makes that a warning too, where
/// - the step is not that of the counters, and the weights are not the masters,
/// - the weights are the masters in some places and not in others, so that weights_finding() calls them mixed, or
/// - no weights could be compared, the optimizer is behind the counters, and all model states are newer than every
///   optimizer file, as a save leaves them that was killed between the two.
/// `checkpoint`: of joined families, whose ranks are known to agree on the step.
Result<std::vector<std::string>> find_two_saves(const Written& checkpoint, const std::string& path,
                                                const WeightsComparison& weights, bool accept_mixed);

}  // namespace ckptfs::zero
