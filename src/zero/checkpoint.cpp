// The element map and the names of formats.
#include "zero/checkpoint.h"

#include <algorithm>

namespace ckptfs::zero {

void ElementMap::append(std::uint64_t from_numel, std::uint64_t count_numel, std::uint64_t itemsize,
                        PieceList& out) const {
    std::uint64_t position = first_numel + from_numel;
    while (count_numel > 0) {
        const Shard& shard = shards[position / shard_numel];
        const std::uint64_t within = position % shard_numel;
        const std::uint64_t run = std::min(count_numel, shard_numel - within);
        out.add_source(shard.file, shard.offset + (shard_offset_numel + within) * itemsize, run * itemsize);
        position += run;
        count_numel -= run;
    }
}

std::string_view name(Format format) {
    switch (format) {
        case Format::stage0:
            return "no ZeRO partitioning";
        case Format::zero12:
            return "ZeRO-1/2";
        case Format::zero12_elastic:
            return "ZeRO-1/2, elastic";
        case Format::bf16_optimizer:
            return "BF16_Optimizer";
        case Format::zero3:
            return "ZeRO-3";
    }
    return "unknown";
}

}  // namespace ckptfs::zero
