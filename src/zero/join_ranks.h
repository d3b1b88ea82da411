// One model out of what tensor- and pipeline-parallel ranks hold.
#pragma once

#include <cstdint>
#include <span>

#include "ckptfs/result.h"
#include "model/checkpoint.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Whether both have the same groups of parameters of the same names, as tensor-parallel ranks do: pipeline stages have
/// others.
[[nodiscard]] bool have_same_parameters(const model::Rank& a, const model::Rank& b);

/// Of `families`, whose content is `content`: how many tensor-parallel ranks hold each pipeline stage. Files say it
/// since DeepSpeed 0.19.5; before, those that hold parameters of the same names are ranks of one stage. `damaged` where
/// what they say is no divisor.
Result<std::uint64_t> tensor_parallel_degree(const model::Checkpoint& content, std::span<const Family> families);

/// `content`, that of `families`, with one rank: each parameter once, joined as the checkpoint's own
/// universal_checkpoint_info says; the groups of pipeline stages, their frozen parameters and buffers side by side.
/// Replicated parameters are rank 0's, unread; buffers, which no rule names, must have the same shape on every rank.
/// The elements point where content's do. A content of one rank is given back as it is. `unsupported` where the
/// checkpoint does not say how, `inconsistent` where what it says does not fit; errors name the file or the parameter.
Result<model::Checkpoint> join_model_parallel(const model::Checkpoint& content, std::span<const Family> families);

}  // namespace ckptfs::zero
