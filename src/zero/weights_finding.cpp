// Tells a mix of saves from what training does to weights, and puts it into words.
#include "zero/weights_finding.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace ckptfs::zero {
namespace {

constexpr std::size_t max_named_parameters = 3;

/// "ranks 0-2 and 5", of several families "rank 1 of mp_rank_00, ranks 0-1 of mp_rank_01".
class RankNames {
 public:
    explicit RankNames(const Written& checkpoint) : checkpoint_(checkpoint) {}

    void add(const RankWeights& of) {
        if (families_.empty() || families_.back().first != of.family) {
            families_.push_back({of.family, {}});
        }
        auto& runs = families_.back().second;
        if (!runs.empty() && runs.back().second + 1 == of.rank) {
            runs.back().second = of.rank;
        } else {
            runs.emplace_back(of.rank, of.rank);
        }
    }

    [[nodiscard]] std::string text() const {
        std::string result;
        for (std::size_t i = 0; i < std::min(families_.size(), max_named); ++i) {
            const auto& [family, runs] = families_[i];
            const bool several = runs.size() > 1 || runs.front().first != runs.front().second;
            result += (result.empty() ? "" : "; ") + std::string(several ? "ranks " : "rank ") + text_of(runs);
            if (checkpoint_.families.size() > 1) {
                result += " of mp_rank_" + checkpoint_.families[family].rank;
            }
        }
        return families_.size() > max_named ? result + " and more" : result;
    }

 private:
    static constexpr std::size_t max_named = 8;
    using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // first and last

    static std::string text_of(const Runs& runs) {
        std::string result;
        for (std::size_t i = 0; i < std::min(runs.size(), max_named); ++i) {
            const auto [first, last] = runs[i];
            result += (i == 0 ? "" : ", ") + std::to_string(first) + (first == last ? "" : "-" + std::to_string(last));
        }
        return runs.size() > max_named ? result + " and more" : result;
    }

    const Written& checkpoint_;
    std::vector<std::pair<std::size_t, Runs>> families_;
};

struct Count {
    std::uint64_t compared_numel = 0;
    std::uint64_t different_numel = 0;
};

/// What chance is allowed, in all places together that are looked at.
constexpr double improbable = 1e-3;
/// A few differences are a training's own, however small the place that they are in (a clamp of a scalar).
constexpr std::uint64_t fewest_different_numel = 8;

/// Whether chance would hardly leave all differences in `on`, and none in `fitting_numel` elements beside it.
bool told_apart(const Count& on, std::uint64_t fitting_numel, std::size_t candidates) {
    if (on.different_numel < fewest_different_numel || fitting_numel == 0) {
        return false;
    }
    const auto compared = static_cast<double>(on.compared_numel);
    const double log_share = std::log(compared / (compared + static_cast<double>(fitting_numel)));
    return static_cast<double>(on.different_numel) * log_share <
           std::log(improbable / static_cast<double>(std::max<std::size_t>(1, candidates)));
}

/// A parameter that differs on some ranks although it fits on another that holds enough of it.
bool is_mixed_in_a_parameter(const std::vector<RankWeights>& ranks) {
    struct Sides {
        Count different;
        std::uint64_t fitting_numel = 0;  // on one rank
    };
    std::unordered_map<const std::string*, Sides> parameters;
    std::size_t candidates = 0;
    for (const RankWeights& rank : ranks) {
        for (const ParameterWeights& parameter : rank.parameters) {
            ++candidates;
            Sides& sides = parameters[parameter.name];
            if (parameter.different_numel > 0) {
                sides.different.compared_numel += parameter.compared_numel;
                sides.different.different_numel += parameter.different_numel;
            } else {
                sides.fitting_numel = std::max(sides.fitting_numel, parameter.compared_numel);
            }
        }
    }
    return std::any_of(parameters.begin(), parameters.end(), [candidates](const auto& parameter) {
        return told_apart(parameter.second.different, parameter.second.fitting_numel, candidates);
    });
}

/// A file that masters or weights are in.
struct Unit {
    Count all;
    std::uint64_t of_different_parameters_numel = 0;  // what was compared of those parameters of which some differ

    void add(const ParameterWeights& parameter, bool differs) {
        all.compared_numel += parameter.compared_numel;
        all.different_numel += parameter.different_numel;
        of_different_parameters_numel += differs ? parameter.compared_numel : 0;
    }

    /// Most of its parameters differ, and in more than the few elements that a clamp changes.
    [[nodiscard]] bool differs_as_a_whole() const {
        constexpr std::uint64_t fewest_percent = 1;
        return of_different_parameters_numel * 2 >= all.compared_numel &&
               all.different_numel * 100 >= all.compared_numel * fewest_percent;
    }
};

bool is_mixed_in_units(const std::vector<Unit>& units) {
    std::uint64_t fitting_numel = 0;
    for (const Unit& unit : units) {
        fitting_numel += unit.all.different_numel == 0 ? unit.all.compared_numel : 0;
    }
    return std::any_of(units.begin(), units.end(), [fitting_numel, &units](const Unit& unit) {
        return unit.differs_as_a_whole() && told_apart(unit.all, fitting_numel, units.size());
    });
}

/// A rank's masters, or a file of weights, of another save than the rest.
bool is_mixed_in_a_file(const std::vector<RankWeights>& ranks) {
    std::unordered_set<const std::string*> different;
    for (const RankWeights& rank : ranks) {
        for (const ParameterWeights& parameter : rank.parameters) {
            if (parameter.different_numel > 0) {
                different.insert(parameter.name);
            }
        }
    }
    std::vector<Unit> of_masters;
    std::vector<Unit> of_weights;
    std::unordered_map<const File*, std::size_t> files;
    for (const RankWeights& rank : ranks) {
        Unit& masters = of_masters.emplace_back();
        for (const ParameterWeights& parameter : rank.parameters) {
            const auto [entry, is_new] = files.try_emplace(parameter.file, of_weights.size());
            if (is_new) {
                of_weights.emplace_back();
            }
            masters.add(parameter, parameter.different_numel > 0);
            of_weights[entry->second].add(parameter, different.contains(parameter.name));
        }
    }
    return is_mixed_in_units(of_masters) || is_mixed_in_units(of_weights);
}

std::string names_of(const std::vector<RankWeights>& ranks) {
    std::vector<std::string> names;
    for (const RankWeights& rank : ranks) {
        for (const ParameterWeights& parameter : rank.parameters) {
            if (parameter.different_numel > 0 && names.size() <= max_named_parameters &&
                std::find(names.begin(), names.end(), *parameter.name) == names.end()) {
                names.push_back(*parameter.name);
            }
        }
    }
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), max_named_parameters); ++i) {
        text += (i == 0 ? "'" : ", '") + names[i] + "'";
    }
    return names.size() > max_named_parameters ? text + " and others" : text;
}

}  // namespace

WeightsFinding weights_finding(const Written& checkpoint, const WeightsComparison& weights) {
    WeightsFinding finding;
    if (weights.different_numel() == 0) {
        return finding;
    }
    finding.differ = true;
    finding.mixed = is_mixed_in_a_parameter(weights.ranks) || is_mixed_in_a_file(weights.ranks);
    RankNames different(checkpoint);
    RankNames same(checkpoint);
    for (const RankWeights& rank : weights.ranks) {
        (rank.different_numel > 0 ? different : same).add(rank);
    }
    std::string others;
    if (finding.mixed) {
        others = ", while " + (same.text().empty() ? std::string("others there are") : "they are on " + same.text());
    }
    finding.text = "the weights are not the fp32 masters, rounded, on " + different.text() + others + " (" +
                   std::to_string(weights.different_numel()) + " of " + std::to_string(weights.compared_numel()) +
                   " compared elements differ; parameters " + names_of(weights.ranks) + ")";
    return finding;
}

}  // namespace ckptfs::zero
