// Finds where masters and weights of the same elements lie, and compares runs of them.
#include "zero/weights_comparison.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <variant>

#include "util/splitmix.h"
#include "zero/weights_runs.h"

namespace ckptfs::zero {
namespace {

/// A parameter's weights: contiguous, in the order of its elements.
struct Weights {
    const File* file = nullptr;
    std::uint64_t offset = 0;
    model::DType dtype = model::DType::float32;
};

bool is_comparable(model::DType master, model::DType weights) {
    return master == weights ||
           (master == model::DType::float32 && (weights == model::DType::bfloat16 || weights == model::DType::float16));
}

/// A parameter that has both, and where it lies in its group's flat buffer.
struct Slot {
    std::size_t parameter = 0;
    std::uint64_t begin_numel = 0;
    std::uint64_t end_numel = 0;
    Weights weights;
};

/// nullopt where the content has no weight in one piece.
std::optional<Weights> weights_of(const model::Parameter& parameter) {
    const auto* place = parameter.weight ? std::get_if<model::Contiguous>(&parameter.weight->rule()) : nullptr;
    return place == nullptr ? std::nullopt
                            : std::optional(Weights{place->file, place->offset, parameter.weight->dtype()});
}

/// Where a master lies in its group's flat buffer, which is cut over the ranks.
const model::ElementMap& flat_map(const model::Parameter& parameter) {
    return std::get<model::ElementMap>(parameter.master->rule());
}

/// In flat order, without parameters that have no elements or no weights to compare.
std::vector<Slot> slots_of(const model::Group& group) {
    std::vector<Slot> slots;
    for (std::size_t index = 0; index < group.parameters.size(); ++index) {
        const model::Parameter& parameter = group.parameters[index];
        const std::optional<Weights> weights = weights_of(parameter);
        if (parameter.numel > 0 && weights && is_comparable(parameter.master->dtype(), weights->dtype)) {
            const std::uint64_t begin = flat_map(parameter).first_numel;
            slots.push_back({index, begin, begin + parameter.numel, *weights});
        }
    }
    std::sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return a.begin_numel < b.begin_numel; });
    return slots;
}

class FamilyComparison {
 public:
    /// No `sample`: every element.
    FamilyComparison(const Written& checkpoint, std::size_t index, std::optional<SampleSize> sample,
                     const CompareRun& compare)
        : family_(checkpoint.families[index]),
          rank_(checkpoint.content.ranks[index]),
          index_(index),
          sample_(sample),
          compare_(compare) {}

    Result<void> run(std::vector<RankWeights>& out) {
        std::vector<std::vector<Slot>> slots;
        for (const model::Group& group : rank_.groups) {
            slots.push_back(slots_of(group));
        }
        // A rank's file is opened once for all its groups.
        for (std::size_t rank = 0; rank < family_.optimizer.size(); ++rank) {
            RankWeights found{index_, rank, 0, 0, {}};
            for (std::size_t g = 0; g < slots.size(); ++g) {
                CKPTFS_TRY(compare_partition(g, slots[g], found));
            }
            if (found.compared_numel > 0) {
                out.push_back(std::move(found));
            }
        }
        return {};
    }

 private:
    /// A slot's elements in a rank's partition.
    struct Part {
        const Slot* slot = nullptr;
        std::uint64_t begin_numel = 0;  // flat
        std::uint64_t end_numel = 0;

        [[nodiscard]] std::uint64_t numel() const { return end_numel - begin_numel; }
    };

    Result<void> compare_partition(std::size_t group, const std::vector<Slot>& slots, RankWeights& found) {
        if (slots.empty()) {
            return {};
        }
        const std::uint64_t partition_numel =
            flat_map(rank_.groups[group].parameters[slots.front().parameter]).shard_numel;
        const std::uint64_t left = found.rank * partition_numel;
        const std::uint64_t right = left + partition_numel;
        std::vector<Part> parts;
        auto slot =
            std::partition_point(slots.begin(), slots.end(), [left](const Slot& s) { return s.end_numel <= left; });
        for (; slot != slots.end() && slot->begin_numel < right; ++slot) {
            parts.push_back({&*slot, std::max(left, slot->begin_numel), std::min(right, slot->end_numel)});
        }
        for (const Part& run : sample_ ? sample(parts, *sample_, found.rank) : parts) {
            CKPTFS_TRY(compare(group, run, left, found));
        }
        return {};
    }

    /// Strata of equal size, and in each a run somewhere: no two ranks sample the same columns of a matrix.
    [[nodiscard]] static std::vector<Part> sample(const std::vector<Part>& parts, const SampleSize& size,
                                                  std::uint64_t rank) {
        const std::uint64_t numel =
            std::accumulate(parts.begin(), parts.end(), std::uint64_t{0},
                            [](std::uint64_t sum, const Part& part) { return sum + part.numel(); });
        const std::uint64_t stratum_numel = std::max<std::uint64_t>(1, numel / size.runs);
        const std::uint64_t run_numel = std::min(size.run_numel, stratum_numel);
        std::vector<Part> runs;
        std::uint64_t passed = 0;  // elements of the parts before `part`
        auto part = parts.begin();
        for (std::uint64_t i = 0; i < size.runs && i * stratum_numel < numel; ++i) {
            const std::uint64_t stratum = i * stratum_numel;
            const std::uint64_t at = stratum + splitmix64(rank * size.runs + i) % (stratum_numel - run_numel + 1);
            while (at >= passed + part->numel()) {
                passed += part->numel();
                ++part;
            }
            // A run stays in its parameter; where that ends too soon it begins earlier, but in its stratum.
            const std::uint64_t end = passed + part->numel();
            const std::uint64_t latest = end - std::min(run_numel, part->numel());
            const std::uint64_t begin = std::max(stratum, std::min(at, latest));
            const std::uint64_t length = std::min(run_numel, end - begin);
            runs.push_back(
                {part->slot, part->begin_numel + (begin - passed), part->begin_numel + (begin - passed) + length});
        }
        return runs;
    }

    Result<void> compare(std::size_t group, const Part& run, std::uint64_t left, RankWeights& found) {
        const StateForm& master = family_.groups[group].master;
        const model::Shard& shard = master.shards[found.rank];
        const Weights& weights = run.slot->weights;
        const std::uint64_t weights_numel = run.begin_numel - run.slot->begin_numel;
        const WeightsRun place{
            .numel = run.numel(),
            .masters = {shard.file, shard.offset + (run.begin_numel - left) * model::itemsize(master.dtype),
                        master.dtype},
            .weights = {weights.file, weights.offset + weights_numel * model::itemsize(weights.dtype), weights.dtype}};
        CKPTFS_ASSIGN(const std::uint64_t different, compare_(place));
        found.compared_numel += run.numel();
        found.different_numel += different;
        // Runs come in the order of parameters.
        const std::string* name = &rank_.groups[group].parameters[run.slot->parameter].name;
        if (found.parameters.empty() || found.parameters.back().name != name) {
            found.parameters.push_back({name, run.slot->weights.file, 0, 0});
        }
        found.parameters.back().compared_numel += run.numel();
        found.parameters.back().different_numel += different;
        return {};
    }

    const Family& family_;
    const model::Rank& rank_;
    std::size_t index_;
    std::optional<SampleSize> sample_;
    const CompareRun& compare_;
};

Result<WeightsComparison> compare_by_reading(const Written& checkpoint, const SampleSize& sample) {
    RunComparer comparer;
    return compare_runs(checkpoint, sample, [&](const WeightsRun& run) { return comparer.count_differences(run); });
}

std::uint64_t sum_of(const std::vector<RankWeights>& ranks, std::uint64_t RankWeights::*member) {
    return std::accumulate(ranks.begin(), ranks.end(), std::uint64_t{0},
                           [member](std::uint64_t sum, const RankWeights& rank) { return sum + rank.*member; });
}

}  // namespace

Result<WeightsComparison> compare_runs(const Written& checkpoint, std::optional<SampleSize> sample,
                                       const CompareRun& compare) {
    WeightsComparison comparison;
    if (checkpoint.format == Format::stage0 || checkpoint.format == Format::zero3) {
        return comparison;
    }
    for (std::size_t index = 0; index < checkpoint.families.size(); ++index) {
        CKPTFS_TRY(FamilyComparison(checkpoint, index, sample, compare).run(comparison.ranks));
    }
    return comparison;
}

std::uint64_t WeightsComparison::compared_numel() const {
    return sum_of(ranks, &RankWeights::compared_numel);
}

std::uint64_t WeightsComparison::different_numel() const {
    return sum_of(ranks, &RankWeights::different_numel);
}

bool WeightsComparison::ranks_are_unlike() const {
    const auto differs = [](const RankWeights& rank) { return rank.different_numel > 0; };
    return std::any_of(ranks.begin(), ranks.end(), differs) && !std::all_of(ranks.begin(), ranks.end(), differs);
}

Result<WeightsComparison> sample_weights(const Written& checkpoint) {
    std::uint64_t partitions = 0;
    for (const Family& family : checkpoint.families) {
        partitions += family.optimizer.size() * family.groups.size();
    }
    partitions = std::max<std::uint64_t>(1, partitions);
    const auto affordable = [partitions](std::uint64_t most, std::uint64_t runs) {
        return std::clamp<std::uint64_t>(most / partitions, 1, runs);
    };
    CKPTFS_ASSIGN(
        WeightsComparison sample,
        compare_by_reading(checkpoint, SampleSize{affordable(max_sampled_runs, sampled_runs), sampled_run_numel}));
    if (!sample.ranks_are_unlike()) {
        return sample;
    }
    CKPTFS_ASSIGN(
        WeightsComparison closer,
        compare_by_reading(checkpoint, SampleSize{affordable(max_closer_runs, closer_runs), closer_run_numel}));
    // A difference that only the sample holds is not forgotten.
    for (std::size_t i = 0; i < closer.ranks.size(); ++i) {
        if (closer.ranks[i].different_numel == 0 && sample.ranks[i].different_numel > 0) {
            closer.ranks[i] = std::move(sample.ranks[i]);
        }
    }
    return closer;
}

}  // namespace ckptfs::zero
