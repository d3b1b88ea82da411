// Whether a view shows what its source holds: coverage, readability by libtorch, and every element's bytes.
#pragma once

#include <cstdint>
#include <memory>

#include "ckptfs/result.h"
#include "ckptfs/view.h"
#include "verify/passed_bytes.h"
#include "verify/problems.h"
#include "verify/second_reader.h"
#include "zero/written.h"

namespace ckptfs::verify {

struct ViewTotals {
    std::uint64_t files = 0;
    std::uint64_t records = 0;          ///< read through libtorch
    std::uint64_t tensors = 0;          ///< parameters' states and tensors of `module` that were compared
    std::uint64_t compared_nbytes = 0;  ///< of each side
};

/// Checks that, of `source` shown by `view` at `dp_world_size`,
/// - every file can be read whole by libtorch, whose reader finds the same records with the same bytes as ckptfs's own,
/// - the files, read as a checkpoint, are one of dp_world_size ranks with the source's parameters, groups and states,
/// - of every group and state the source's elements are shown exactly once,
/// - every parameter's states and every tensor of `module` are equal to the source's, byte for byte.
/// What does not hold goes to `problems`, by name. Every byte of the view is read once, and of the source once what the
/// view shows once; `passed` is told of the latter. Fails where the source cannot be read or libtorch not be loaded.
Result<ViewTotals> verify_view(const zero::Written& source, const std::shared_ptr<const View>& view,
                               std::uint64_t dp_world_size, const TorchReader& read_with_torch, Problems& problems,
                               const PassedBytes& passed = {});

}  // namespace ckptfs::verify
