// Judges what was found, and puts it into words.
#include "zero/save_signals.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "zero/optimizer_file.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

/// What a family's optimizers say of their steps.
struct OptimizerSteps {
    std::optional<double> step;  ///< absent where they count none, as SGD does
    bool is_adagrad = false;     ///< its states are made without a step
};

/// Whether the optimizer is one with moments, which has none before its first step.
bool has_moments(const ModelParallelRank& family) {
    const Node* optimizer = pickle::find(family.optimizer.front().structure->root(), "optimizer_state_dict");
    const Node* base = pickle::find(optimizer, "base_optimizer_state");
    if (base == nullptr) {
        base = pickle::find(optimizer, "optimizer_state_dict");  // stage 3
    }
    const Node* groups = pickle::find(base, "param_groups");
    return groups != nullptr && groups->kind == Kind::list &&
           std::any_of(groups->items.begin(), groups->items.end(),
                       [](const Node* group) { return pickle::find(group, "betas") != nullptr; });
}

OptimizerSteps steps_of(const ModelParallelRank& family) {
    OptimizerSteps steps;
    bool has_state = false;
    for (const ParameterGroup& group : family.groups) {
        steps.step = std::max(steps.step, group.step);  // a group that was thawed later is behind
        has_state = has_state || group.has_state;
        steps.is_adagrad = steps.is_adagrad || std::any_of(group.states.begin(), group.states.end(),
                                                           [](const State& state) { return state.key == "sum"; });
    }
    if (!steps.step && !has_state && has_moments(family)) {
        steps.step = 0;
    }
    return steps;
}

/// How often the optimizer of these model states has stepped.
std::optional<double> counted_steps(const ModelParallelRank& family) {
    const Node* root = family.model_states->root();
    const std::optional<double> steps = number_of(pickle::find(root, "global_steps"));
    const std::optional<double> skipped = number_of(pickle::find(root, "skipped_steps"));
    return steps && skipped ? std::optional(*steps - *skipped) : std::nullopt;
}

/// The minor version of DeepSpeed 0.x; nullopt for any other text.
std::optional<unsigned> minor_version(std::string_view deepspeed_version) {
    constexpr std::string_view major = "0.";
    unsigned minor = 0;
    if (!deepspeed_version.starts_with(major)) {
        return std::nullopt;
    }
    deepspeed_version.remove_prefix(major.size());
    const char* const begin = deepspeed_version.data();
    const auto [end, failure] = std::from_chars(begin, begin + deepspeed_version.size(), minor);
    return failure == std::errc() ? std::optional(minor) : std::nullopt;
}

/// Until 0.13, DeepSpeed stepped every optimizer but Adagrad once while the engine was made (its pull request 5104).
struct StepsAtStart {
    bool possible = false;
    bool certain = false;
};

StepsAtStart steps_at_start(const OptimizerSteps& steps, const std::string& deepspeed_version) {
    constexpr unsigned last_minor = 13;
    const std::optional<unsigned> minor = minor_version(deepspeed_version);
    return {minor && *minor <= last_minor, minor && *minor < last_minor && !steps.is_adagrad};
}

/// What the step says of two saves; nullopt: nothing.
std::optional<std::string> step_finding(const Checkpoint& checkpoint) {
    for (const ModelParallelRank& family : checkpoint.model_parallel) {
        const OptimizerSteps steps = steps_of(family);
        const std::optional<double> counted = counted_steps(family);
        if (!steps.step || !counted) {
            continue;
        }
        const auto [ahead_possible, ahead_certain] = steps_at_start(steps, checkpoint.deepspeed_version);
        const bool same = *steps.step == *counted && !ahead_certain;
        const bool ahead = *steps.step == *counted + 1 && ahead_possible;
        if (!same && !ahead) {
            return "the optimizer files are at step " + step_text(steps.step) +
                   ", but global_steps - skipped_steps of " + family.model_states_name + " is " + step_text(counted) +
                   (ahead_certain ? ", to which DeepSpeed " + checkpoint.deepspeed_version + " adds 1" : "");
        }
    }
    return std::nullopt;
}

/// "ranks 0-2 and 5", of several families "rank 1 of mp_rank_00, ranks 0-1 of mp_rank_01".
class RankNames {
 public:
    explicit RankNames(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

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
            if (checkpoint_.model_parallel.size() > 1) {
                result += " of mp_rank_" + checkpoint_.model_parallel[family].rank;
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

    const Checkpoint& checkpoint_;
    std::vector<std::pair<std::size_t, Runs>> families_;
};

/// What the weights say of two saves.
struct WeightsFinding {
    bool on_all_ranks = false;
    bool on_some_ranks = false;
    std::string text;
};

WeightsFinding weights_finding(const Checkpoint& checkpoint, const WeightsComparison& weights) {
    WeightsFinding finding;
    RankNames different(checkpoint);
    RankNames same(checkpoint);
    std::vector<std::string> parameters;
    for (const RankWeights& rank : weights.ranks) {
        if (rank.different_numel == 0) {
            same.add(rank);
            finding.on_some_ranks = true;
            continue;
        }
        different.add(rank);
        finding.on_all_ranks = true;
        for (const std::string& name : rank.parameters) {
            if (std::find(parameters.begin(), parameters.end(), name) == parameters.end()) {
                parameters.push_back(name);
            }
        }
    }
    finding.on_some_ranks = finding.on_some_ranks && finding.on_all_ranks;
    finding.on_all_ranks = finding.on_all_ranks && !finding.on_some_ranks;
    if (!finding.on_some_ranks && !finding.on_all_ranks) {
        return finding;
    }
    const std::size_t named = std::min(parameters.size(), WeightsComparison::max_named_parameters);
    std::string names;
    for (std::size_t i = 0; i < named; ++i) {
        names += (i == 0 ? "'" : ", '") + parameters[i] + "'";
    }
    finding.text = "the weights are not the fp32 masters, rounded, on " + different.text() +
                   (finding.on_some_ranks ? ", while they are on " + same.text() : "") + " (" +
                   std::to_string(weights.different_numel()) + " of " + std::to_string(weights.compared_numel()) +
                   " compared elements differ; parameters " + names +
                   (named < parameters.size() ? " and others)" : ")");
    return finding;
}

/// A save writes its model states first: these are younger where it was killed before it came to the optimizer's files.
bool model_states_are_newer(const Checkpoint& checkpoint) {
    std::int64_t oldest_model_states = INT64_MAX;
    std::int64_t newest_optimizer = INT64_MIN;
    for (const ModelParallelRank& family : checkpoint.model_parallel) {
        oldest_model_states = std::min(oldest_model_states, family.model_states_info.stamp.mtime_ns);
        for (const RankFile& file : family.model_states_shards) {
            oldest_model_states = std::min(oldest_model_states, file.info.stamp.mtime_ns);
        }
        for (const RankFile& file : family.optimizer) {
            newest_optimizer = std::max(newest_optimizer, file.info.stamp.mtime_ns);
        }
    }
    return oldest_model_states > newest_optimizer;
}

constexpr std::string_view step_cause =
    "resumed with load_optimizer_states=False, or reset its counters or the optimizer's states";
constexpr std::string_view weights_cause =
    "changed weights or masters itself (a clamp, an average put in their place, safe_set_full_fp32_param)";

std::string said_refusal(const std::string& finding, const std::string& cause) {
    return finding +
           ": files of two saves lie in one directory: wait for the running save, or restore the files of one save; "
           "if the training " +
           cause + ", --accept-mixed serves them";
}

std::string one_sign(const std::string& finding, std::string_view cause) {
    return finding + ": expected where the training " + std::string(cause) +
           "; if it did not, files of two saves lie in one directory, and those of one save must be restored";
}

}  // namespace

Result<std::vector<std::string>> find_two_saves(const Checkpoint& checkpoint, const std::string& path,
                                                const WeightsComparison& weights, bool accept_mixed) {
    std::vector<std::string> warnings;
    if (checkpoint.format == Format::stage0) {
        return warnings;
    }
    const std::optional<std::string> step = step_finding(checkpoint);
    const WeightsFinding of_weights = weights_finding(checkpoint, weights);
    const bool signs_of_weights = of_weights.on_all_ranks || of_weights.on_some_ranks;
    std::optional<std::string> refusal;
    if (step && signs_of_weights) {
        refusal = said_refusal(*step + ", and " + of_weights.text,
                               std::string(step_cause) + ", and " + std::string(weights_cause));
    } else if (of_weights.on_some_ranks) {
        refusal = said_refusal(of_weights.text, std::string(weights_cause));
    } else if (step && weights.ranks.empty() && model_states_are_newer(checkpoint)) {
        refusal = said_refusal(*step + ", and the model states are newer than every optimizer file",
                               std::string(step_cause) + ", and a copy changed the times");
    } else if (step) {
        warnings.push_back(path + ": " + one_sign(*step, step_cause));
    } else if (of_weights.on_all_ranks) {
        warnings.push_back(path + ": " + one_sign(of_weights.text, weights_cause));
    }
    if (refusal && !accept_mixed) {
        return Error(ErrorCode::inconsistent, path + ": " + *refusal);
    }
    if (refusal) {
        warnings.push_back(path + ": accepted because of --accept-mixed: " + *refusal);
    }
    return warnings;
}

}  // namespace ckptfs::zero
