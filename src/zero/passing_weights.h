// Weights against their masters while both are read for something else, in whatever order: what lies far apart in files
// is never there at once, so each side leaves a number of each block, and only blocks whose numbers differ are read
// again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <vector>

#include "ckptfs/result.h"
#include "zero/weights_comparison.h"
#include "zero/weights_runs.h"
#include "zero/written.h"

namespace ckptfs::zero {

class PassingWeights {
 public:
    static constexpr std::uint64_t block_numel = std::uint64_t{1} << 18U;

    /// Of `checkpoint`, which is referred to. Reads nothing. Holds 32 bytes for each block.
    explicit PassingWeights(const Written& checkpoint);

    /// Bytes of a file from `offset` on, each byte once. Those that are neither masters nor weights are left aside.
    /// Safe for concurrent use.
    void passed(const File& file, std::uint64_t offset, std::span<const std::byte> bytes);

    /// Of every element. Reads the blocks of which not all has passed, or which differ. After the last passed().
    [[nodiscard]] Result<WeightsComparison> compare() const;

 private:
    struct SideOfBlock {
        std::atomic<std::uint64_t> digest{0};
        std::atomic<std::uint64_t> numel{0};  ///< that has passed
    };
    struct Block {
        SideOfBlock masters;
        SideOfBlock weights;
    };
    struct Run {
        WeightsRun place;
        std::size_t first_block = 0;
    };
    /// Where one side of a run lies.
    struct Range {
        std::uint64_t offset = 0;
        std::uint64_t end = 0;
        std::size_t run = 0;
        bool is_masters = false;
    };

    void add(const Run& run, bool is_masters, std::uint64_t first_numel, std::span<const std::byte> bytes);
    [[nodiscard]] bool is_equal(std::size_t block, std::uint64_t numel) const;

    const Written& checkpoint_;
    std::vector<Run> runs_;
    std::deque<Block> blocks_;
    std::unordered_map<const File*, std::vector<Range>> ranges_;  // ascending, none within another
};

}  // namespace ckptfs::zero
