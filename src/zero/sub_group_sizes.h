// What a stage-3 checkpoint shows of zero_optimization.sub_group_size, whether or not its stored config says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "zero/written.h"

namespace ckptfs::zero {

/// From `least` to `most`, both included. Cuts are monotone in the size: where both ends cut alike, all between do.
struct SubGroupSizes {
    std::uint64_t least = 0;
    std::uint64_t most = UINT64_MAX;
};

/// Whether this size gives the sub-groups that the files show.
[[nodiscard]] bool explains_cut(const Written& checkpoint, std::uint64_t sub_group_size);

/// The sizes that give the sub-groups that the files show; nullopt where none does.
[[nodiscard]] std::optional<SubGroupSizes> sizes_that_explain(const Written& checkpoint);

/// The stored config says the size that the files are cut for. Otherwise it is known only as far as they show it.
[[nodiscard]] bool sub_group_size_is_stored(const Written& checkpoint);

/// For messages, where it is not: "FILE: …, so that …: their own cut shows …".
[[nodiscard]] std::string sub_group_size_finding(const Written& checkpoint);

}  // namespace ckptfs::zero
