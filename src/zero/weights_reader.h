// Reads what a tag's model states alone hold, for tags whose optimizer files are missing or damaged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "model/checkpoint.h"
#include "zero/opened_families.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Stages 0 to 2 without the optimizer. Immutable once read.
struct WeightsOnly {
    std::uint64_t dp_world_size = 0;
    std::string deepspeed_version;
    std::vector<Family> families;
    /// Without masters and states, with parameters in optimizer order as far as the stored config tells it. Its
    /// elements point into `families`.
    model::Checkpoint content;
};

/// `directory` is relative to the source. Needs the model states of every model-parallel rank, and of a pipeline the
/// files of its layers. Checks that they are whole, that model-parallel ranks agree on world sizes and global_steps,
/// and that no file changed while it was read; nothing can tell here whether the weights of one file are of one step.
/// `unsupported` at stage 3, whose weights are in the optimizer files; other errors as of read_checkpoint(). `opened`:
/// what that has opened need not be opened again.
Result<std::shared_ptr<const WeightsOnly>> read_weights(const Source& source, const std::string& directory,
                                                        OpenedFamilies opened = {});

}  // namespace ckptfs::zero
