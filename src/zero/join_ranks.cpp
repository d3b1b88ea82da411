// Stage by stage: tensor-parallel ranks into one, then the stages side by side.
#include "zero/join_ranks.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "zero/fields.h"
#include "zero/slice_plan.h"
#include "zero/slice_rules.h"

namespace ckptfs::zero {
namespace {

using pickle::Node;

/// The ranks of one pipeline stage.
class StageJoin {
 public:
    StageJoin(std::span<const model::Rank> ranks, const std::optional<SliceRules>& rules, model::Rank& out,
              std::unordered_set<std::string>& placed)
        : ranks_(ranks), first_(ranks.front()), rules_(rules), out_(out), placed_(placed) {}

    Result<void> run() {
        for (const model::Rank& rank : ranks_) {
            if (rank.groups.size() != first_.groups.size() || rank.frozen.size() != first_.frozen.size() ||
                rank.buffers.size() != first_.buffers.size()) {
                return other_parameters(rank);
            }
        }
        for (std::size_t g = 0; g < first_.groups.size(); ++g) {
            CKPTFS_TRY(join_group(g));
        }
        CKPTFS_ASSIGN(std::vector<model::Parameter> frozen,
                      join_parameters([](const model::Rank& rank) { return &rank.frozen; }, 0));
        std::move(frozen.begin(), frozen.end(), std::back_inserter(out_.frozen));
        CKPTFS_TRY(take_buffers());
        for (const model::TiedName& tied : first_.tied) {
            if (placed_.insert(tied.name).second) {
                out_.tied.push_back(tied);
            }
        }
        return {};
    }

 private:
    [[nodiscard]] Error other_parameters(const model::Rank& rank) const {
        return {ErrorCode::inconsistent, "the files of mp_rank_" + rank.name +
                                             " hold other parameters than those of mp_rank_" + first_.name +
                                             ", of the same pipeline stage; restore the files of one save"};
    }

    Result<void> join_group(std::size_t g) {
        const model::Group& first = first_.groups[g];
        for (const model::Rank& rank : ranks_) {
            if (rank.groups[g].states != first.states) {
                return other_parameters(rank);
            }
        }
        model::Group group{{}, first.states, first.hyper_parameters, first.step};
        CKPTFS_ASSIGN(
            group.parameters,
            join_parameters([g](const model::Rank& rank) { return &rank.groups[g].parameters; }, first.states.size()));
        out_.groups.push_back(std::move(group));
        return {};
    }

    // `of`: from a rank to its parameters.
    template <class Of>
    Result<std::vector<model::Parameter>> join_parameters(const Of& of, std::size_t states) {
        std::vector<model::Parameter> joined;
        const std::vector<model::Parameter>& first = *of(first_);
        for (std::size_t p = 0; p < first.size(); ++p) {
            std::vector<const model::Parameter*> slices;
            for (const model::Rank& rank : ranks_) {
                const std::vector<model::Parameter>& parameters = *of(rank);
                if (parameters.size() != first.size() || parameters[p].name != first[p].name ||
                    parameters[p].dtype != first[p].dtype) {
                    return other_parameters(rank);
                }
                slices.push_back(&parameters[p]);
            }
            if (!placed_.insert(first[p].name).second) {
                continue;  // an earlier stage has it: stages keep tied layers equal
            }
            CKPTFS_ASSIGN(model::Parameter parameter, join_parameter(slices, states));
            joined.push_back(std::move(parameter));
        }
        return joined;
    }

    Result<model::Parameter> join_parameter(const std::vector<const model::Parameter*>& slices, std::size_t states) {
        model::Parameter parameter = *slices.front();
        if (!rules_ || slices.size() == 1) {
            return parameter;
        }
        CKPTFS_ASSIGN(const SliceRule rule, rules_->rule_of(parameter.name));
        std::vector<std::vector<std::uint64_t>> shapes;
        shapes.reserve(slices.size());
        for (const model::Parameter* slice : slices) {
            shapes.push_back(slice->shape);
        }
        CKPTFS_ASSIGN(const SlicePlan plan, plan_slices(parameter.name, rule, shapes));
        // Present where every slice has it.
        const auto whole = [&](const auto& elements_of) -> std::optional<model::Elements> {
            std::vector<model::Elements> parts;
            for (const model::Parameter* slice : slices) {
                const model::Elements* elements = elements_of(*slice);
                if (elements == nullptr || (!parts.empty() && elements->dtype() != parts.front().dtype())) {
                    return std::nullopt;
                }
                parts.push_back(*elements);
            }
            return plan.apply(parts);
        };
        parameter.shape = plan.shape;
        parameter.numel = plan.numel;
        parameter.weight = whole([](const model::Parameter& of) { return of.weight ? &*of.weight : nullptr; });
        parameter.master = whole([](const model::Parameter& of) { return of.master ? &*of.master : nullptr; });
        for (std::size_t s = 0; s < states; ++s) {
            std::optional<model::Elements> state =
                whole([s](const model::Parameter& of) { return s < of.states.size() ? &of.states[s] : nullptr; });
            if (!state) {
                return Error(ErrorCode::inconsistent,
                             "tensor-parallel ranks keep states of " + parameter.name + " in different dtypes");
            }
            parameter.states[s] = *std::move(state);
        }
        return parameter;
    }

    Result<void> take_buffers() {
        for (std::size_t b = 0; b < first_.buffers.size(); ++b) {
            const model::Tensor& buffer = first_.buffers[b];
            for (const model::Rank& rank : ranks_) {
                if (rank.buffers[b].name != buffer.name) {
                    return other_parameters(rank);
                }
                if (rank.buffers[b].shape != buffer.shape) {
                    return Error(ErrorCode::unsupported,
                                 "the buffer " + buffer.name +
                                     " has different shapes on tensor-parallel ranks, and nothing in the checkpoint "
                                     "says how they make one");
                }
            }
            if (placed_.insert(buffer.name).second) {
                out_.buffers.push_back(buffer);
            }
        }
        return {};
    }

    std::span<const model::Rank> ranks_;
    const model::Rank& first_;
    const std::optional<SliceRules>& rules_;
    model::Rank& out_;
    std::unordered_set<std::string>& placed_;
};

std::vector<std::string> parameter_names(const model::Checkpoint& content) {
    std::vector<std::string> names;
    for (const model::Rank& rank : content.ranks) {
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                names.push_back(parameter.name);
            }
        }
        for (const model::Parameter& parameter : rank.frozen) {
            names.push_back(parameter.name);
        }
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

Result<SliceRules> rules_of(const model::Checkpoint& content, const Family& family, std::uint64_t degree) {
    const std::string& path = family.model_states->file()->name();
    const Node* info = pickle::find(family.model_states->root(), "universal_checkpoint_info");
    if (!pickle::is_dict_like(info)) {
        return Error(ErrorCode::unsupported,
                     path + ": it does not say how the slices of " + std::to_string(degree) +
                         " tensor-parallel ranks make one model: universal_checkpoint_info is missing; save with a "
                         "framework that adds it to the client state (Megatron-DeepSpeed, AutoTP)");
    }
    const Field field{info, {path, "universal_checkpoint_info"}};
    CKPTFS_ASSIGN(SliceRules rules, SliceRules::read(field, degree));
    CKPTFS_ASSIGN(const auto pattern, rules.unmatched(parameter_names(content)));
    if (pattern) {
        return field.place.inconsistent("the pattern '" + *pattern +
                                        "' matches no parameter, so that it was written for other names");
    }
    return rules;
}

}  // namespace

bool have_same_parameters(const model::Rank& a, const model::Rank& b) {
    const auto same_group = [](const model::Group& left, const model::Group& right) {
        return std::equal(left.parameters.begin(), left.parameters.end(), right.parameters.begin(),
                          right.parameters.end(), [](const auto& p, const auto& q) { return p.name == q.name; });
    };
    return std::equal(a.groups.begin(), a.groups.end(), b.groups.begin(), b.groups.end(), same_group);
}

Result<std::uint64_t> tensor_parallel_degree(const model::Checkpoint& content, std::span<const Family> families) {
    const Node* root = families.front().model_states->root();
    const Node* degree = pickle::find(pickle::find(root, "checkpoint_parallel_dimensions"), "tp_degree");
    if (degree == nullptr) {
        const std::vector<model::Rank>& ranks = content.ranks;
        const auto other = std::find_if(ranks.begin(), ranks.end(), [&ranks](const model::Rank& rank) {
            return !have_same_parameters(ranks.front(), rank);
        });
        const auto count = static_cast<std::uint64_t>(other - ranks.begin());
        if (families.size() % count == 0) {
            return count;
        }
        return Error(ErrorCode::inconsistent,
                     families.front().model_states->file()->name() + ": " + std::to_string(families.size()) +
                         " model-parallel ranks are not stages of " + std::to_string(count) + " ranks each");
    }
    const Field field{degree,
                      {families.front().model_states->file()->name(), "checkpoint_parallel_dimensions.tp_degree"}};
    CKPTFS_ASSIGN(const std::uint64_t count, field.as_count());
    if (count == 0 || families.size() % count != 0) {
        return field.place.damaged("a divisor of the " + std::to_string(families.size()) + " model-parallel ranks");
    }
    return count;
}

Result<model::Checkpoint> join_model_parallel(const model::Checkpoint& content, std::span<const Family> families) {
    if (content.ranks.size() < 2) {
        return content;
    }
    CKPTFS_ASSIGN(const std::uint64_t degree, tensor_parallel_degree(content, families));
    std::optional<SliceRules> rules;
    if (degree > 1) {
        CKPTFS_ASSIGN(rules, rules_of(content, families.front(), degree));
    }
    model::Checkpoint joined;
    joined.global_steps = content.global_steps;
    joined.gaps = content.gaps;
    model::Rank& out = joined.ranks.emplace_back();
    out.name = content.ranks.front().name;
    std::unordered_set<std::string> placed;
    std::unordered_set<std::string> ordered;
    for (std::size_t first = 0; first < content.ranks.size(); first += degree) {
        const std::span<const model::Rank> stage = std::span(content.ranks).subspan(first, degree);
        CKPTFS_TRY(StageJoin(stage, rules, out, placed).run());
        for (const std::string& name : stage.front().order) {
            if (ordered.insert(name).second) {
                out.order.push_back(name);
            }
        }
    }
    return joined;
}

}  // namespace ckptfs::zero
