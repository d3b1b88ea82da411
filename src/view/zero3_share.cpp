// Shares from element maps, padding from zeros.
#include "view/zero3_share.h"

#include <algorithm>

#include "model/dtype.h"
#include "zero/zero3_partition.h"

namespace ckptfs::view {

void append_share(const model::Elements& elements, std::uint64_t dp_world_size, std::uint64_t rank, PieceList& out) {
    const std::uint64_t numel = elements.numel();
    const std::uint64_t share = zero::partition_numel(numel, dp_world_size);
    const std::uint64_t begin = std::min(numel, rank * share);
    const std::uint64_t end = std::min(numel, begin + share);
    elements.append(begin, end - begin, out);
    out.add_zeros((share - (end - begin)) * model::itemsize(elements.dtype()));
}

}  // namespace ckptfs::view
