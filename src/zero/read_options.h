// What a reader accepts that it would refuse by itself.
#pragma once

#include <cstdint>
#include <optional>

namespace ckptfs::zero {

struct ReadOptions {
    /// Serve a tag whose files look like those of two saves although each of them is whole (--accept-mixed).
    bool accept_mixed = false;
    /// Where ranks keep values of their own that no other world size has a right value for: every rank gets those of
    /// this data-parallel rank (--rank-values-of). Refused where absent.
    std::optional<std::uint64_t> rank_values_of;
    /// Whether to look for signs that whole files come from two saves (save_signals.h), which reads a sample of the
    /// weights.
    bool look_for_two_saves = true;
};

}  // namespace ckptfs::zero
