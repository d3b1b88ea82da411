// Each rule appends pieces for a range of elements.
#include "model/elements.h"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace ckptfs::model {
namespace {

void append_joined(const Joined& joined, std::uint64_t from, std::uint64_t count, PieceList& out) {
    std::uint64_t row_numel = 0;
    for (const Elements& part : joined.parts) {
        row_numel += part.numel() / joined.rows;
    }
    while (count > 0) {
        const std::uint64_t row = from / row_numel;
        std::uint64_t within = from % row_numel;
        for (const Elements& part : joined.parts) {
            const std::uint64_t width = part.numel() / joined.rows;
            if (within >= width) {
                within -= width;
                continue;
            }
            const std::uint64_t run = std::min(count, width - within);
            part.append(row * width + within, run, out);
            from += run;
            count -= run;
            within = 0;
            if (count == 0) {
                return;
            }
        }
    }
}

void append_narrowed(const Narrowed& narrowed, std::uint64_t from, std::uint64_t count, PieceList& out) {
    while (count > 0) {
        const std::uint64_t row = from / narrowed.width_numel;
        const std::uint64_t within = from % narrowed.width_numel;
        const std::uint64_t run = std::min(count, narrowed.width_numel - within);
        narrowed.whole.append(row * narrowed.row_numel + narrowed.first_numel + within, run, out);
        from += run;
        count -= run;
    }
}

}  // namespace

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

void Elements::append(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out) const {
    const std::uint64_t size = itemsize(dtype_);
    std::visit(
        [&](const auto& rule) {
            using Kind = std::decay_t<decltype(rule)>;
            if constexpr (std::is_same_v<Kind, Zeros>) {
                out.add_zeros(count_numel * size);
            } else if constexpr (std::is_same_v<Kind, Contiguous>) {
                out.add_source(rule.file, rule.offset + from_numel * size, count_numel * size);
            } else if constexpr (std::is_same_v<Kind, ElementMap>) {
                rule.append(from_numel, count_numel, size, out);
            } else if constexpr (std::is_same_v<Kind, std::shared_ptr<const Joined>>) {
                append_joined(*rule, from_numel, count_numel, out);
            } else {
                append_narrowed(*rule, from_numel, count_numel, out);
            }
        },
        rule_);
}

Elements join(std::vector<Elements> parts, std::uint64_t rows) {
    std::uint64_t numel = 0;
    for (const Elements& part : parts) {
        numel += part.numel();
    }
    const DType dtype = parts.front().dtype();
    return {dtype, numel, std::make_shared<const Joined>(Joined{rows, std::move(parts)})};
}

Elements narrow(Elements whole, std::uint64_t rows, std::uint64_t first_numel, std::uint64_t width_numel) {
    const std::uint64_t row_numel = rows == 0 ? 0 : whole.numel() / rows;
    if (first_numel == 0 && width_numel == row_numel) {
        return whole;
    }
    const DType dtype = whole.dtype();
    return {dtype, rows * width_numel,
            std::make_shared<const Narrowed>(Narrowed{std::move(whole), row_numel, first_numel, width_numel})};
}

}  // namespace ckptfs::model
