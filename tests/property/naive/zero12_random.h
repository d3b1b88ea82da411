// Random checkpoints of ZeRO-1/2 and BF16_Optimizer.
#pragma once

#include "naive/random.h"
#include "naive/zero12_model.h"

namespace naive {

/// Groups, names, shapes, optimizers, data types, settings, versions and client state, all drawn from `random`.
[[nodiscard]] Checkpoint random_checkpoint(Random& random);

/// How a save at A may differ from a view's files where that must not matter.
[[nodiscard]] Freedom random_freedom(Random& random, const Checkpoint& checkpoint);

}  // namespace naive
