// Walks the slots that touch a range of a flat buffer.
#include "view/partition_content.h"

#include <algorithm>

#include "model/dtype.h"

namespace ckptfs::view {

PieceList flat_content(const zero::State& state, const zero::FlatLayout& layout, std::uint64_t first_numel,
                       std::uint64_t count_numel) {
    const std::uint64_t itemsize = model::itemsize(state.dtype);
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
        state.parameters[slot.parameter].append(begin - slot.offset_numel, stop - begin, itemsize, content);
        cursor = stop;
    }
    content.add_zeros((end - cursor) * itemsize);
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
        state.parameters[slot.parameter].append(0, slot.numel, model::itemsize(state.dtype), content);
    }
    return content;
}

}  // namespace ckptfs::view
