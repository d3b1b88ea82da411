// Walks the slots that touch a range of a flat buffer.
#include "view/partition_content.h"

#include <algorithm>
#include <vector>

#include "model/dtype.h"

namespace ckptfs::view {

PieceList flat_content(const zero::State& state, const zero::FlatLayout& layout, std::uint64_t first_numel,
                       std::uint64_t count_numel) {
    const std::uint64_t itemsize = model::itemsize(state.form().dtype);
    const std::uint64_t end = first_numel + count_numel;
    PieceList content;
    std::uint64_t cursor = first_numel;
    for (std::size_t i = layout.first_slot_after(first_numel); i < layout.slots.size(); ++i) {
        const zero::Slot& slot = layout.slots[i];
        if (slot.offset_numel >= end) {
            break;
        }
        const std::uint64_t begin = std::max(cursor, slot.offset_numel);
        const std::uint64_t stop = std::min(end, slot.offset_numel + slot.numel);
        content.add_zeros((begin - cursor) * itemsize);
        state.elements(slot.parameter).append(begin - slot.offset_numel, stop - begin, content);
        cursor = stop;
    }
    content.add_zeros((end - cursor) * itemsize);
    return content;
}

PieceList flat_content(const zero::WeightsBuffer& weights, const zero::FlatLayout& source,
                       const zero::FlatLayout& layout) {
    const std::uint64_t itemsize = model::itemsize(weights.dtype);
    std::vector<std::uint64_t> offsets(source.slots.size());
    for (const zero::Slot& slot : source.slots) {
        offsets[slot.parameter] = slot.offset_numel;
    }
    PieceList content;
    std::uint64_t cursor = 0;
    for (const zero::Slot& slot : layout.slots) {
        content.add_zeros((slot.offset_numel - cursor) * itemsize);
        content.add_source(weights.shard.file, weights.shard.offset + offsets[slot.parameter] * itemsize,
                           slot.numel * itemsize);
        cursor = slot.offset_numel + slot.numel;
    }
    content.add_zeros((layout.padded_numel - cursor) * itemsize);
    return content;
}

PieceList whole_content(const zero::State& state, const zero::FlatLayout& layout, std::uint64_t rank) {
    const std::uint64_t left = rank * layout.partition_numel;
    PieceList content;
    for (std::size_t i = layout.first_slot_after(left); i < layout.slots.size(); ++i) {
        const zero::Slot& slot = layout.slots[i];
        if (slot.offset_numel >= left + layout.partition_numel) {
            break;
        }
        state.elements(slot.parameter).append(content);
    }
    return content;
}

}  // namespace ckptfs::view
