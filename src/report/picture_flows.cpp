// How many elements go from which ranks to which, with neighbouring ranks taken together.
#include <algorithm>
#include <unordered_map>

#include "report/picture.h"
#include "util/checked.h"

namespace ckptfs::report {
namespace {

/// The bundles of one side, as one parameter meets them.
struct Bundles {
    const Dealt& dealt;
    std::uint64_t ranks = 1;  ///< in each

    [[nodiscard]] std::uint64_t of(std::uint64_t element) const {
        return (dealt.first_numel + element) / dealt.share_numel / ranks;
    }
    /// The first element that is in a later one.
    [[nodiscard]] std::uint64_t end(std::uint64_t bundle) const {
        return (bundle + 1) * ranks * dealt.share_numel - dealt.first_numel;
    }
};

}  // namespace

std::uint64_t bundle_count(const Partitions& side, std::uint64_t bundle) {
    return ceil_divide(side.ranks, bundle);
}

std::vector<Flow> flows(const DrawnGroup& group, std::uint64_t bundle_before, std::uint64_t bundle_after) {
    const std::uint64_t width = bundle_count(group.before, bundle_before);
    std::unordered_map<std::uint64_t, std::uint64_t> numels;
    for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        const Bundles before{group.before.dealt[p], bundle_before};
        const Bundles after{group.after.dealt[p], bundle_after};
        const std::uint64_t numel = group.parameters[p].numel;
        for (std::uint64_t element = 0; element < numel;) {
            const std::uint64_t from = before.of(element);
            const std::uint64_t to = after.of(element);
            const std::uint64_t end = std::min({numel, before.end(from), after.end(to)});
            numels[to * width + from] += end - element;
            element = end;
        }
    }
    std::vector<Flow> result;
    result.reserve(numels.size());
    for (const auto& [key, numel] : numels) {
        result.push_back({key % width, key / width, numel});
    }
    std::sort(result.begin(), result.end(), [](const Flow& a, const Flow& b) {
        return a.after != b.after ? a.after < b.after : a.before < b.before;
    });
    return result;
}

std::vector<std::uint64_t> bundle_padding(const Partitions& side, std::uint64_t bundle, const std::vector<Flow>& flows,
                                          std::uint64_t Flow::*number) {
    std::vector<std::uint64_t> result(bundle_count(side, bundle));
    for (std::uint64_t index = 0; index < result.size(); ++index) {
        result[index] = (std::min(side.ranks, (index + 1) * bundle) - index * bundle) * side.partition_numel;
    }
    for (const Flow& flow : flows) {
        result[flow.*number] -= flow.numel;
    }
    return result;
}

}  // namespace ckptfs::report
