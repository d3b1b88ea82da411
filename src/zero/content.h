// What of a checkpoint's content is in the model states and layer files, added to what the optimizer files hold.
#pragma once

#include <span>
#include <string_view>

#include "model/checkpoint.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Completes the content of `families`. `content` has a model::Rank for each, in their order, with groups as the
/// optimizer files tell them: parameters in optimizer order, masters, states and steps. Everything else is added. Reads
/// nothing. The elements point into the families' forms and files, which must outlive them and stay where they are.
/// `optimizer_prefix`: of the optimizer files' names, which tells bf16 where no config is stored; "" where none were
/// read.
///
/// * Stages 1 and 2: weights, frozen parameters and buffers are `module`'s, wherever in the file their storages lie; of
///   a pipeline, its layer files'. Tied layers of a pipeline have no weight, since no file says which layer they are.
/// * Stage 3: parameters have masters alone, and the dtype of the empty tensors that stand for them in `module`; frozen
///   parameters are cut over the ranks; buffers are those of data-parallel rank 0.
/// * Stage 0: one group of all parameters, in the order of `module`, without masters: the file says of no parameter
///   whether the optimizer steps it.
///
/// Tied names are those of `shared_params`, and those that share their bytes with another name.
void complete_content(std::span<const Family> families, std::string_view optimizer_prefix, model::Checkpoint& content);

}  // namespace ckptfs::zero
