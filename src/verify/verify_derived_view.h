// Whether a view that is not a re-cut shows what its source holds.
#pragma once

#include "ckptfs/result.h"
#include "ckptfs/view.h"
#include "model/checkpoint.h"
#include "verify/derived_kinds.h"
#include "verify/passed_bytes.h"
#include "verify/problems.h"
#include "verify/second_reader.h"
#include "verify/verify_view.h"

namespace ckptfs::verify {

/// Checks that, of `source` shown by `view` under `request`, whose kind is a derived one,
/// - every .pt, .bin and .ckpt file can be read whole by libtorch, with the same bytes as by ckptfs, and every
///   safetensors file by a strict parser; an index names the files in which its tensors are,
/// - everything that the view must show is there once, under its names, with its dtype and shape, and nothing else;
///   where nothing is converted it is made of just the source's bytes, each of them once,
/// - every tensor is equal to the source's, after a conversion that is not the view's own.
/// What does not hold goes to `problems`, by name. Bytes are read as by verify_view(). Fails where the source cannot be
/// read or libtorch not be loaded.
Result<ViewTotals> verify_derived_view(const model::Checkpoint& source, const View& view, const ViewRequest& request,
                                       const Naming& naming, const TorchReader& read_with_torch, Problems& problems,
                                       const PassedBytes& passed = {});

}  // namespace ckptfs::verify
