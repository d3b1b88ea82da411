// From the model to names, kinds and parts.
#include "verify/expected_tensors.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace ckptfs::verify {
namespace {

using model::DType;

std::optional<DType> floating_dtype(WeightsDType dtype) {
    switch (dtype) {
        case WeightsDType::source:
            return std::nullopt;
        case WeightsDType::fp32:
            return DType::float32;
        case WeightsDType::bf16:
            return DType::bfloat16;
        case WeightsDType::fp16:
            return DType::float16;
    }
    return std::nullopt;
}

bool is_floating(DType dtype) {
    return dtype == DType::float64 || dtype == DType::float32 || dtype == DType::float16 || dtype == DType::bfloat16;
}

/// Tensors by name and kind, in the order in which they were added; equal ones of several ranks are parts of one.
class Collection {
 public:
    explicit Collection(const Naming& naming) : naming_(naming) {}

    /// What follows is of another rank.
    void begin_rank() { ++rank_; }

    void add(const std::string& name, const std::string& kind, DType dtype, TensorPart part) {
        const auto [known, is_new] = index_.try_emplace({name, kind}, tensors_.size());
        if (is_new) {
            ExpectedTensor& added = tensors_.emplace_back();
            added.kind = kind;
            added.dtype = dtype;
            if (auto shown = naming_(name)) {
                added.names.push_back(*std::move(shown));
            }
        }
        ExpectedTensor& tensor = tensors_[known->second];
        last_ranks_.resize(tensors_.size());
        tensor.is_doubled = tensor.is_doubled || (!is_new && last_ranks_[known->second] == rank_);
        last_ranks_[known->second] = rank_;
        tensor.parts.push_back(std::move(part));
    }

    void add_name(const model::TiedName& tied, const std::string& kind, bool under_every_name) {
        const auto known = index_.find({tied.of, kind});
        const auto shown = naming_(tied.name);
        if (known == index_.end() || !shown || !tied_.insert(tied.name).second) {
            return;
        }
        tensors_[known->second].names.push_back(*shown);
        tensors_[known->second].under_every_name = under_every_name;
    }

    /// Those that have a name in the view.
    [[nodiscard]] std::vector<ExpectedTensor> take() {
        std::erase_if(tensors_, [](const ExpectedTensor& tensor) { return tensor.names.empty(); });
        return std::move(tensors_);
    }

 private:
    const Naming& naming_;
    std::vector<ExpectedTensor> tensors_;
    std::size_t rank_ = 0;
    std::vector<std::size_t> last_ranks_;  // that added a part, by tensor
    std::map<std::pair<std::string, std::string>, std::size_t> index_;
    std::set<std::string> tied_;
};

/// The tensors of a rank's module that its files hold, by name.
std::map<std::string, TensorPart> module_of(const model::Rank& rank) {
    std::map<std::string, TensorPart> result;
    const auto add = [&](const model::Parameter& parameter) {
        if (parameter.weight) {
            result.emplace(parameter.name, TensorPart{*parameter.weight, parameter.shape});
        }
    };
    for (const model::Group& group : rank.groups) {
        std::for_each(group.parameters.begin(), group.parameters.end(), add);
    }
    std::for_each(rank.frozen.begin(), rank.frozen.end(), add);
    for (const model::Tensor& buffer : rank.buffers) {
        result.emplace(buffer.name, TensorPart{buffer.elements, buffer.shape});
    }
    return result;
}

bool keeps_weights(const model::Checkpoint& checkpoint) {
    return std::any_of(checkpoint.ranks.begin(), checkpoint.ranks.end(), [](const model::Rank& rank) {
        return std::any_of(rank.groups.begin(), rank.groups.end(), [](const model::Group& group) {
            return std::any_of(group.parameters.begin(), group.parameters.end(),
                               [](const model::Parameter& parameter) { return parameter.weight.has_value(); });
        });
    });
}

void add_states(const model::Checkpoint& checkpoint, Collection& out) {
    for (const model::Rank& rank : checkpoint.ranks) {
        out.begin_rank();
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                if (parameter.master) {
                    out.add(parameter.name, "fp32", parameter.master->dtype(), {*parameter.master, parameter.shape});
                }
                for (std::size_t index = 0; index < parameter.states.size() && index < group.states.size(); ++index) {
                    const model::Elements& state = parameter.states[index];
                    out.add(parameter.name, group.states[index], state.dtype(), {state, parameter.shape});
                }
            }
        }
    }
}

void add_weight(const model::Parameter& parameter, std::optional<DType> dtype, Collection& out) {
    const auto add = [&](const model::Elements& elements, DType shown) {
        out.add(parameter.name, "weight", shown, {elements, parameter.shape});
    };
    const bool is_kept = dtype && parameter.weight && !is_floating(parameter.weight->dtype());
    const bool is_there =
        parameter.weight && (!dtype || (parameter.weight->dtype() == *dtype && dtype != DType::float32));
    if (parameter.weight && (is_kept || is_there || !parameter.master)) {
        add(*parameter.weight, is_kept ? parameter.weight->dtype() : dtype.value_or(parameter.weight->dtype()));
    } else if (parameter.master) {
        add(*parameter.master, dtype.value_or(parameter.dtype));
    }
}

}  // namespace

std::vector<ExpectedTensor> expected_weights(const model::Checkpoint& checkpoint, WeightsDType dtype,
                                             bool under_every_name, const Naming& naming) {
    Collection result(naming);
    const std::optional<DType> floating = floating_dtype(dtype);
    for (const model::Rank& rank : checkpoint.ranks) {
        result.begin_rank();
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                add_weight(parameter, floating, result);
            }
        }
        for (const model::Parameter& parameter : rank.frozen) {
            add_weight(parameter, floating, result);
        }
        for (const model::Tensor& buffer : rank.buffers) {
            const DType own = buffer.elements.dtype();
            result.add(buffer.name, "weight", is_floating(own) ? floating.value_or(own) : own,
                       {buffer.elements, buffer.shape});
        }
    }
    for (const model::Rank& rank : checkpoint.ranks) {
        for (const model::TiedName& tied : rank.tied) {
            result.add_name(tied, "weight", under_every_name);
        }
    }
    return result.take();
}

std::vector<ExpectedTensor> expected_lightning(const model::Checkpoint& checkpoint, const Naming& naming) {
    Collection result(naming);
    for (const model::Rank& rank : checkpoint.ranks) {
        result.begin_rank();
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                add_weight(parameter, DType::float32, result);
            }
        }
        for (const model::Parameter& parameter : rank.frozen) {
            add_weight(parameter, std::nullopt, result);
        }
        for (const model::Tensor& buffer : rank.buffers) {
            const DType own = buffer.elements.dtype();
            result.add(buffer.name, "weight", is_floating(own) ? DType::float32 : own, {buffer.elements, buffer.shape});
        }
        for (const model::TiedName& tied : rank.tied) {
            result.add_name(tied, "weight", true);
        }
    }
    return result.take();
}

std::vector<ExpectedTensor> expected_states(const model::Checkpoint& checkpoint, const Naming& naming) {
    Collection result(naming);
    add_states(checkpoint, result);
    return result.take();
}

std::vector<ExpectedTensor> expected_universal(const model::Checkpoint& checkpoint, const Naming& naming) {
    Collection result(naming);
    add_states(checkpoint, result);
    if (keeps_weights(checkpoint)) {
        for (const model::Rank& rank : checkpoint.ranks) {
            result.begin_rank();
            std::map<std::string, TensorPart> module = module_of(rank);
            for (const model::TiedName& tied : rank.tied) {
                if (const auto owner = module.find(tied.of); owner != module.end()) {
                    module.insert_or_assign(tied.name, TensorPart(owner->second));
                }
            }
            for (const model::Group& group : rank.groups) {
                for (const model::Parameter& parameter : group.parameters) {
                    module.erase(parameter.name);
                }
            }
            for (auto& [name, part] : module) {
                result.add(name, "fp32", DType::float32, std::move(part));
            }
        }
    }
    std::vector<ExpectedTensor> tensors = result.take();
    for (ExpectedTensor& tensor : tensors) {
        tensor.may_be_flat = true;
    }
    return tensors;
}

}  // namespace ckptfs::verify
