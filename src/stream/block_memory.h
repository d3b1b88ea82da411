// The memory of what is read ahead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "util/memory_budget.h"

namespace ckptfs {

inline constexpr std::uint64_t stream_block_nbytes = std::uint64_t{1} << 20U;

/// Blocks of `stream_block_nbytes`, aligned to pages, as many as a limit allows. One that is given back is kept for the
/// next who asks, the last one first: its bytes are still near a processor, and its pages exist. Safe for concurrent
/// use.
class BlockMemory : public std::enable_shared_from_this<BlockMemory> {
 public:
    /// `budget`, which outlives it, has less for others while blocks are held.
    explicit BlockMemory(std::uint64_t limit_nbytes, MemoryBudget& budget = MemoryBudget::of_process())
        : most_(limit_nbytes / stream_block_nbytes), held_(budget), reclaimer_(budget, [this] { release_kept(); }) {}
    BlockMemory(const BlockMemory&) = delete;
    BlockMemory& operator=(const BlockMemory&) = delete;
    ~BlockMemory();

    /// Given back by the last reference to it. nullptr where the limit is reached, or neither the budget nor the system
    /// has more: nobody has to let go of anything for what is read ahead.
    [[nodiscard]] std::shared_ptr<std::byte> take();
    /// Frees those that nobody has taken since the last call.
    void release_unused();

    /// In use and kept, in bytes.
    [[nodiscard]] std::uint64_t held_nbytes() const;

 private:
    void give_back(std::byte* block) noexcept;
    /// Waits for nobody.
    void release_kept();

    const std::uint64_t most_;
    mutable std::mutex mutex_;
    std::uint64_t count_ = 0;       // in use and kept
    MemoryReservation held_;        // for them
    std::vector<std::byte*> kept_;  // has room for all there can be
    std::size_t fewest_kept_ = 0;   // since the last release_unused()
    MemoryReclaimer reclaimer_;     // last: it uses the rest
};

}  // namespace ckptfs
