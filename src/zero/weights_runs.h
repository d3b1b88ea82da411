// Runs of neighbouring elements that have both a master and a weight, and what is the same of the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "model/dtype.h"
#include "zero/weights_comparison.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// A run: `numel` elements, contiguous on both sides.
struct WeightsRun {
    struct Side {
        const File* file = nullptr;
        std::uint64_t offset = 0;  ///< bytes
        model::DType dtype = model::DType::float32;
    };

    std::uint64_t numel = 0;
    Side masters;
    Side weights;
};

/// What a sample holds of each rank and group.
struct SampleSize {
    std::uint64_t runs = 0;
    std::uint64_t run_numel = 0;
};

/// How many elements of a run differ.
using CompareRun = std::function<Result<std::uint64_t>(const WeightsRun& run)>;

/// Every run of a checkpoint, or of a sample of it, always in the same order.
Result<WeightsComparison> compare_runs(const Written& checkpoint, std::optional<SampleSize> sample,
                                       const CompareRun& compare);

/// Reads both sides, a block at a time. Not for concurrent use.
class RunComparer {
 public:
    Result<std::uint64_t> count_differences(const WeightsRun& run);

 private:
    std::vector<std::byte> masters_;
    std::vector<std::byte> weights_;
};

/// Elements `first` and the following ones of at most 2^32, as one number: sums over parts of the same elements are
/// equal, in whatever order the parts come, where masters of `masters` round to weights of `weights`, any NaN to any
/// NaN; where one does not they are by chance alone, of one in 2^64.
[[nodiscard]] std::uint64_t digest_of_masters(model::DType masters, model::DType weights,
                                              std::span<const std::byte> bytes, std::uint64_t first);
[[nodiscard]] std::uint64_t digest_of_weights(model::DType masters, model::DType weights,
                                              std::span<const std::byte> bytes, std::uint64_t first);

}  // namespace ckptfs::zero
