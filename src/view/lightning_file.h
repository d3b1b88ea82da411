// Lightning's single checkpoint file, as its convert_zero_checkpoint_to_fp32_state_dict would write it.
#pragma once

#include <memory>
#include <string>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "zero/written.h"

namespace ckptfs::view {

/// Whether `checkpoint` can be shown as such a file: `unsupported` for stage 0, which has no fp32 masters, and for
/// model-parallel checkpoints, which Lightning does not write; otherwise what the content lacks.
Result<void> check_lightning(const zero::Written& checkpoint);

/// The file: what rank 0's model states hold beside DeepSpeed's own values, and `state_dict`, the masters in fp32 with
/// frozen parameters and buffers. `file_name`: its stem becomes the archive's root directory. check_lightning() holds.
Result<std::shared_ptr<const VirtualFile>> lightning_file(const std::shared_ptr<const zero::Written>& checkpoint,
                                                          const std::string& file_name);

}  // namespace ckptfs::view
