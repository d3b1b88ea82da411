// Shares from element maps, padding from zeros.
#include "view/zero3_share.h"

#include <algorithm>

#include "model/dtype.h"
#include "zero/zero3_partition.h"

namespace ckptfs::view {

void append_share(const zero::State& state, std::size_t parameter, std::uint64_t numel, std::uint64_t dp_world_size,
                  std::uint64_t rank, PieceList& out) {
    const std::uint64_t itemsize = model::itemsize(state.dtype);
    const std::uint64_t share = zero::partition_numel(numel, dp_world_size);
    const std::uint64_t begin = std::min(numel, rank * share);
    const std::uint64_t end = std::min(numel, begin + share);
    state.parameters[parameter].append(begin, end - begin, itemsize, out);
    out.add_zeros((share - (end - begin)) * itemsize);
}

}  // namespace ckptfs::view
