// Reads the steps, and puts what was found into words.
#include "zero/save_signals.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

#include "zero/fields.h"
#include "zero/optimizer_file.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

/// The largest of the numbers that a file calls its step; a group that was thawed later is behind.
class LargestStep {
 public:
    void see(const std::optional<double>& step) {
        if (step && (!step_ || *step > *step_)) {
            step_ = step;
        }
    }
    [[nodiscard]] const std::optional<double>& step() const { return step_; }

 private:
    std::optional<double> step_;
};

Result<void> see_state(const Node* state, const RankFile& file, LargestStep& largest) {
    const Node* node = pickle::find(state, "step");
    if (node == nullptr) {
        return {};
    }
    CKPTFS_ASSIGN(StateEntry entry, read_entry("step", {node, {file.file->name(), "step"}}, *file.structure));
    if (entry.tensor) {
        // The tree may be another rank's.
        const pt::RecordPlace& place = file.places[entry.storage];
        entry.shard.file = place.file;
        entry.shard.offset = place.offset + entry.storage_offset;
    }
    CKPTFS_ASSIGN(const std::optional<double> step, scalar_value(entry));
    largest.see(step);
    return {};
}

/// Of one rank's optimizer; nullopt where it keeps none, as SGD does.
Result<std::optional<double>> step_of(const RankFile& file) {
    const Node* optimizer = pickle::find(file.structure->root(), "optimizer_state_dict");
    const Node* base = pickle::find(optimizer, "base_optimizer_state");
    if (base == nullptr) {
        base = pickle::find(optimizer, "optimizer_state_dict");  // stage 3
    }
    LargestStep largest;
    largest.see(number_of(pickle::find(optimizer, "base_optimizer_state_step")));
    if (base == nullptr) {
        return largest.step();
    }
    if (base->kind == Kind::list) {  // elastic: a list of the groups' states
        for (const Node* state : base->items) {
            CKPTFS_TRY(see_state(state, file, largest));
        }
        return largest.step();
    }
    const Node* states = pickle::find(base, "state");
    for (const auto& [key, state] : pickle::dict_items(states)) {
        CKPTFS_TRY(see_state(state, file, largest));
    }
    const Node* groups = pickle::find(base, "param_groups");
    bool is_adaptive = false;
    for (std::size_t g = 0; groups != nullptr && groups->kind == Kind::list && g < groups->items.size(); ++g) {
        largest.see(number_of(pickle::find(groups->items[g], "step")));
        is_adaptive = is_adaptive || pickle::find(groups->items[g], "betas") != nullptr;
    }
    // An optimizer with moments that keeps none has not stepped.
    if (!largest.step() && is_adaptive && pickle::dict_items(states).empty()) {
        return std::optional(0.0);
    }
    return largest.step();
}

/// Of the first rank that keeps one: Muon keeps none on ranks that hold only padding.
Result<std::optional<double>> step_of(const ModelParallelRank& family) {
    for (const RankFile& file : family.optimizer) {
        if (file.structure == nullptr) {
            break;
        }
        CKPTFS_ASSIGN(const std::optional<double> step, step_of(file));
        if (step) {
            return step;
        }
    }
    return std::optional<double>();
}

/// How often the optimizer of these model states has stepped.
std::optional<double> counted_steps(const ModelParallelRank& family) {
    const Node* root = family.model_states->root();
    const std::optional<double> steps = number_of(pickle::find(root, "global_steps"));
    const std::optional<double> skipped = number_of(pickle::find(root, "skipped_steps"));
    return steps && skipped ? std::optional(*steps - *skipped) : std::nullopt;
}

/// Whether the engine that wrote this stepped the optimizer once while it was made: before DeepSpeed 0.14.
bool steps_at_start(std::string_view deepspeed_version) {
    unsigned major = 0;
    unsigned minor = 0;
    const char* const end = deepspeed_version.data() + deepspeed_version.size();
    const auto [dot, bad_major] = std::from_chars(deepspeed_version.data(), end, major);
    if (bad_major != std::errc() || dot == end || *dot != '.') {
        return false;
    }
    const auto [rest, bad_minor] = std::from_chars(dot + 1, end, minor);
    return bad_minor == std::errc() && major == 0 && minor < 14;
}

/// What the step says of two saves; nullopt: nothing.
Result<std::optional<std::string>> step_finding(const Checkpoint& checkpoint) {
    for (const ModelParallelRank& family : checkpoint.model_parallel) {
        CKPTFS_ASSIGN(const std::optional<double> step, step_of(family));
        const std::optional<double> counted = counted_steps(family);
        const bool same = step == counted ||
                          (step && counted && steps_at_start(checkpoint.deepspeed_version) && *step == *counted + 1);
        if (step && counted && !same) {
            return std::optional("the optimizer files are at step " + step_text(step) +
                                 ", but global_steps without skipped_steps is " + step_text(counted) + " in " +
                                 family.model_states_name);
        }
    }
    return std::optional<std::string>();
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
        for (const auto& [family, runs] : families_) {
            const bool several = runs.size() > 1 || runs.front().first != runs.front().second;
            result += (result.empty() ? "" : "; ") + std::string(several ? "ranks " : "rank ") + text_of(runs);
            if (checkpoint_.model_parallel.size() > 1) {
                result += " of mp_rank_" + checkpoint_.model_parallel[family].rank;
            }
        }
        return result;
    }

 private:
    using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // first and last

    static std::string text_of(const Runs& runs) {
        constexpr std::size_t max_named = 8;
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

std::string two_saves(const std::string& finding, const std::string& cause) {
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
    CKPTFS_ASSIGN(const std::optional<std::string> step, step_finding(checkpoint));
    const WeightsFinding of_weights = weights_finding(checkpoint, weights);
    const bool signs_of_weights = of_weights.on_all_ranks || of_weights.on_some_ranks;
    std::optional<std::string> refusal;
    if (step && signs_of_weights) {
        refusal = two_saves(*step + ", and " + of_weights.text,
                            std::string(step_cause) + ", and " + std::string(weights_cause));
    } else if (of_weights.on_some_ranks) {
        refusal = two_saves(of_weights.text, std::string(weights_cause));
    } else if (step && weights.ranks.empty() && model_states_are_newer(checkpoint)) {
        refusal = two_saves(*step + ", and the model states are newer than every optimizer file",
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
