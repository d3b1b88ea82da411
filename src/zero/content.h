// From what DeepSpeed wrote to what it means: the model::Checkpoint behind the files of a tag.
#pragma once

#include <span>
#include <string_view>

#include "model/checkpoint.h"
#include "zero/checkpoint.h"

namespace ckptfs::zero {

/// The content of `families`, one model::Rank for each, in their order. Reads nothing. Its elements point into the
/// families' states and files, which must outlive it and stay where they are. `optimizer_prefix`: of the optimizer
/// files' names, which tells bf16 where no config is stored; "" where none were read.
///
/// * Stages 1 and 2: weights, frozen parameters and buffers are `module`'s, wherever in the file their storages lie; of
///   a pipeline, its layer files'. Tied layers of a pipeline have no weight, since no file says which layer they are.
/// * Stage 3: parameters have masters alone, and the dtype of the empty tensors that stand for them in `module`; frozen
///   parameters are cut over the ranks; buffers are those of data-parallel rank 0.
/// * Stage 0: one group of all parameters, in the order of `module`, without masters: the file says of no parameter
///   whether the optimizer steps it.
///
/// Tied names are those of `shared_params`, and those that share their bytes with another name.
[[nodiscard]] model::Checkpoint make_content(std::span<const Family> families, std::string_view optimizer_prefix);

}  // namespace ckptfs::zero
