// The batching rules of CPython's C pickler.
#include "pt/pickle_batches.h"

#include <algorithm>

namespace ckptfs::pickle {

namespace {

constexpr std::uint64_t batch_size = 1000;  // pickle._Pickler._BATCHSIZE

}  // namespace

std::optional<std::uint32_t> default_batch(Fill fill, std::uint64_t total, std::uint64_t done, std::uint64_t batch) {
    const std::uint64_t left = total - done;
    if (left == 0) {
        const bool ends_empty = (fill == Fill::dict || fill == Fill::set) && total > 0 && batch == total / batch_size;
        return ends_empty ? std::optional<std::uint32_t>(0) : std::nullopt;
    }
    const bool alone = fill == Fill::set ? false : (fill == Fill::list || fill == Fill::dict ? total == 1 : left == 1);
    return alone ? WriteHints::single : static_cast<std::uint32_t>(std::min(left, batch_size));
}

std::vector<std::uint32_t> default_batches(Fill fill, std::uint64_t total) {
    std::vector<std::uint32_t> batches;
    std::uint64_t done = 0;
    while (const auto batch = default_batch(fill, total, done, batches.size())) {
        batches.push_back(*batch);
        done += batch_count(*batch);
    }
    return batches;
}

bool batches_fit(const std::vector<std::uint32_t>& batches, std::uint64_t total) {
    std::uint64_t sum = 0;
    for (const std::uint32_t batch : batches) {
        sum += batch_count(batch);
    }
    return sum == total;
}

}  // namespace ckptfs::pickle
