// Runs in blocks; each passing part is added to the numbers of its blocks.
#include "zero/passing_weights.h"

#include <algorithm>
#include <optional>

namespace ckptfs::zero {

PassingWeights::PassingWeights(const Written& checkpoint) : checkpoint_(checkpoint) {
    // Nothing is compared yet, so that nothing can fail.
    (void)compare_runs(checkpoint, std::nullopt, [this](const WeightsRun& run) -> Result<std::uint64_t> {
        for (const bool is_masters : {true, false}) {
            const WeightsRun::Side& side = is_masters ? run.masters : run.weights;
            ranges_[side.file].push_back(
                {side.offset, side.offset + run.numel * model::itemsize(side.dtype), runs_.size(), is_masters});
        }
        runs_.push_back({run, blocks_.size()});
        for (std::uint64_t numel = 0; numel < run.numel; numel += block_numel) {
            blocks_.emplace_back();
        }
        return 0;
    });
    for (auto& [file, ranges] : ranges_) {
        std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.offset < b.offset; });
        // Where two runs share bytes the later one is left to compare().
        std::uint64_t end = 0;
        std::erase_if(ranges, [&end](const Range& range) {
            if (range.offset < end) {
                return true;
            }
            end = range.end;
            return false;
        });
    }
}

void PassingWeights::passed(const File& file, std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto known = ranges_.find(&file);
    if (known == ranges_.end()) {
        return;
    }
    const std::uint64_t end = offset + bytes.size();
    auto range = std::partition_point(known->second.begin(), known->second.end(),
                                      [offset](const Range& of) { return of.end <= offset; });
    for (; range != known->second.end() && range->offset < end; ++range) {
        const Run& run = runs_[range->run];
        const std::uint64_t itemsize =
            model::itemsize(range->is_masters ? run.place.masters.dtype : run.place.weights.dtype);
        const std::uint64_t from = std::max(offset, range->offset);
        const std::uint64_t to = std::min(end, range->end);
        // Halves of an element are left to compare().
        const std::uint64_t first_numel = (from - range->offset + itemsize - 1) / itemsize;
        const std::uint64_t end_numel = (to - range->offset) / itemsize;
        if (first_numel < end_numel) {
            add(run, range->is_masters, first_numel,
                bytes.subspan(range->offset + first_numel * itemsize - offset, (end_numel - first_numel) * itemsize));
        }
    }
}

void PassingWeights::add(const Run& run, bool is_masters, std::uint64_t first_numel, std::span<const std::byte> bytes) {
    const model::DType masters = run.place.masters.dtype;
    const model::DType weights = run.place.weights.dtype;
    const std::uint64_t itemsize = model::itemsize(is_masters ? masters : weights);
    for (std::uint64_t left = bytes.size() / itemsize; left > 0;) {
        const std::uint64_t within = first_numel % block_numel;
        const std::uint64_t count = std::min(left, block_numel - within);
        const auto part = bytes.first(count * itemsize);
        Block& block = blocks_[run.first_block + first_numel / block_numel];
        SideOfBlock& side = is_masters ? block.masters : block.weights;
        side.digest += is_masters ? digest_of_masters(masters, weights, part, within)
                                  : digest_of_weights(masters, weights, part, within);
        side.numel += count;
        first_numel += count;
        left -= count;
        bytes = bytes.subspan(part.size());
    }
}

bool PassingWeights::is_equal(std::size_t block, std::uint64_t numel) const {
    const Block& of = blocks_[block];
    return of.masters.numel == numel && of.weights.numel == numel && of.masters.digest == of.weights.digest;
}

Result<WeightsComparison> PassingWeights::compare() const {
    auto run = runs_.begin();
    RunComparer comparer;
    return compare_runs(checkpoint_, std::nullopt, [&](const WeightsRun& place) -> Result<std::uint64_t> {
        std::uint64_t different = 0;
        for (std::uint64_t from = 0; from < place.numel; from += block_numel) {
            WeightsRun block = place;
            block.numel = std::min(block_numel, place.numel - from);
            if (is_equal(run->first_block + from / block_numel, block.numel)) {
                continue;
            }
            block.masters.offset += from * model::itemsize(place.masters.dtype);
            block.weights.offset += from * model::itemsize(place.weights.dtype);
            CKPTFS_ASSIGN(const std::uint64_t of_block, comparer.count_differences(block));
            different += of_block;
        }
        ++run;
        return different;
    });
}

}  // namespace ckptfs::zero
