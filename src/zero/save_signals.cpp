// Judges what was found, and puts it into words.
#include "zero/save_signals.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "zero/optimizer_file.h"
#include "zero/weights_finding.h"

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
bool has_moments(const Family& family) {
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

OptimizerSteps steps_of(const Family& family, const model::Rank& rank) {
    OptimizerSteps steps;
    bool has_state = false;
    for (std::size_t g = 0; g < family.groups.size(); ++g) {
        const std::vector<std::string>& states = rank.groups[g].states;
        steps.step = std::max(steps.step, rank.groups[g].step);  // a group that was thawed later is behind
        has_state = has_state || family.groups[g].has_state;
        steps.is_adagrad = steps.is_adagrad || std::find(states.begin(), states.end(), "sum") != states.end();
    }
    if (!steps.step && !has_state && has_moments(family)) {
        steps.step = 0;
    }
    return steps;
}

/// How often the optimizer of these model states has stepped.
std::optional<double> counted_steps(const Family& family) {
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

/// What the step says of two saves.
struct StepFinding {
    std::string text;
    bool counters_are_ahead = false;  ///< of the optimizer, as they are where its files are of an earlier save
};

/// nullopt: nothing.
std::optional<StepFinding> step_finding(const Written& checkpoint) {
    for (std::size_t index = 0; index < checkpoint.families.size(); ++index) {
        const Family& family = checkpoint.families[index];
        const OptimizerSteps steps = steps_of(family, checkpoint.content.ranks[index]);
        const std::optional<double> counted = counted_steps(family);
        if (!steps.step || !counted) {
            continue;
        }
        const auto [ahead_possible, ahead_certain] = steps_at_start(steps, checkpoint.deepspeed_version);
        const bool same = *steps.step == *counted && !ahead_certain;
        const bool ahead = *steps.step == *counted + 1 && ahead_possible;
        if (!same && !ahead) {
            return StepFinding{"the optimizer files are at step " + step_text(steps.step) +
                                   ", but global_steps - skipped_steps of " + family.model_states_name + " is " +
                                   step_text(counted) +
                                   (ahead_certain ? ", to which DeepSpeed " + checkpoint.deepspeed_version + " adds 1"
                                                  : std::string()),
                               *steps.step < *counted + (ahead_certain ? 1 : 0)};
        }
    }
    return std::nullopt;
}

/// A save writes its model states first: these are younger where it was killed before it came to the optimizer's files.
bool model_states_are_newer(const Written& checkpoint) {
    std::int64_t oldest_model_states = INT64_MAX;
    std::int64_t newest_optimizer = INT64_MIN;
    for (const Family& family : checkpoint.families) {
        oldest_model_states = std::min(oldest_model_states, family.model_states_info.stamp.mtime_ns);
        for (const RankFile& file : family.model_states_of_ranks()) {
            oldest_model_states = std::min(oldest_model_states, file.info.stamp.mtime_ns);
        }
        for (const RankFile& file : family.optimizer) {
            newest_optimizer = std::max(newest_optimizer, file.info.stamp.mtime_ns);
        }
    }
    return oldest_model_states > newest_optimizer;
}

constexpr std::string_view step_cause =
    "resumed with load_optimizer_states=False, reset its counters or the optimizer's states, or began under a "
    "DeepSpeed before 0.14, whose optimizers are a step ahead for as long as they are resumed";
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

Result<std::vector<std::string>> find_two_saves(const Written& checkpoint, const std::string& path,
                                                const WeightsComparison& weights, bool accept_mixed) {
    std::vector<std::string> warnings;
    if (checkpoint.format == Format::stage0) {
        return warnings;
    }
    const std::optional<StepFinding> step = step_finding(checkpoint);
    const WeightsFinding of_weights = weights_finding(checkpoint, weights);
    std::optional<std::string> refusal;
    if (step && of_weights.differ) {
        refusal = said_refusal(step->text + ", and " + of_weights.text,
                               std::string(step_cause) + ", and " + std::string(weights_cause));
    } else if (of_weights.mixed) {
        refusal = said_refusal(of_weights.text, std::string(weights_cause));
    } else if (step && step->counters_are_ahead && weights.ranks.empty() && model_states_are_newer(checkpoint)) {
        refusal = said_refusal(step->text + ", and the model states are newer than every optimizer file",
                               std::string(step_cause) + ", and a copy changed the times");
    } else if (step) {
        warnings.push_back(path + ": " + one_sign(step->text, step_cause));
    } else if (of_weights.differ) {
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
