// Tensors are chosen by the checkpoint's names, then put in order and renamed.
#include "view/shown_tensors.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>
#include <variant>

#include "model/conversion.h"

namespace ckptfs::view {
namespace {

/// A tensor with all its names in the checkpoint, the one that it stands under first.
struct NamedTensor {
    std::vector<std::string> names;
    ShownTensor tensor;
};

class TensorList {
 public:
    TensorList(const model::Rank& rank, const TensorSelection& selection) : rank_(rank), selection_(selection) {
        for (std::size_t i = 0; i < rank.order.size(); ++i) {
            position_.emplace(rank.order[i], i);
        }
        for (const model::TiedName& tied : rank.tied) {
            tied_[tied.of].push_back(tied.name);
        }
    }

    std::vector<NamedTensor> make() {
        if (!selection_.trainable_only) {
            add_buffers();
        }
        for (const model::Parameter& parameter : rank_.frozen) {
            if (!selection_.trainable_only) {
                add_parameter(parameter, nullptr);
            }
        }
        for (const model::Group& group : rank_.groups) {
            for (const model::Parameter* parameter : in_flat_order(group)) {
                if (!selection_.trainable_only || parameter->trainable.value_or(true)) {
                    add_parameter(*parameter, &group);
                }
            }
        }
        if (selection_.in_module_order) {
            std::stable_sort(tensors_.begin(), tensors_.end(), [&](const NamedTensor& a, const NamedTensor& b) {
                return position(a.names.front()) < position(b.names.front());
            });
        }
        return std::move(tensors_);
    }

 private:
    [[nodiscard]] std::size_t position(const std::string& name) const {
        const auto found = position_.find(name);
        return found == position_.end() ? position_.size() : found->second;
    }

    // As they lie in the flat buffer, which zero_to_fp32.py walks through; round_robin_gradients puts them in another
    // order than the optimizer's.
    static std::vector<const model::Parameter*> in_flat_order(const model::Group& group) {
        std::vector<const model::Parameter*> parameters;
        for (const model::Parameter& parameter : group.parameters) {
            parameters.push_back(&parameter);
        }
        const auto first_numel = [](const model::Parameter* parameter) -> std::uint64_t {
            const auto* map = parameter->master ? std::get_if<model::ElementMap>(&parameter->master->rule()) : nullptr;
            return map != nullptr ? map->first_numel : 0;
        };
        std::stable_sort(parameters.begin(), parameters.end(),
                         [&](const auto* a, const auto* b) { return first_numel(a) < first_numel(b); });
        return parameters;
    }

    void add_buffers() {
        std::vector<const model::Tensor*> buffers;
        for (const model::Tensor& buffer : rank_.buffers) {
            buffers.push_back(&buffer);
        }
        std::stable_sort(buffers.begin(), buffers.end(), [&](const model::Tensor* a, const model::Tensor* b) {
            return position(a->name) < position(b->name);
        });
        for (const model::Tensor* buffer : buffers) {
            add(buffer->name, buffer->shape, selection_.buffer(*buffer), false);
        }
    }

    void add_parameter(const model::Parameter& parameter, const model::Group* group) {
        add(parameter.name, parameter.shape, selection_.parameter(parameter, group), true);
    }

    void add(const std::string& name, const std::vector<std::uint64_t>& shape,
             std::optional<TensorSelection::Shown> shown, bool is_parameter) {
        if (!shown) {
            return;
        }
        NamedTensor& named = tensors_.emplace_back();
        named.names.push_back(name);
        if (const auto tied = tied_.find(name); tied != tied_.end()) {
            named.names.insert(named.names.end(), tied->second.begin(), tied->second.end());
        }
        named.tensor.shape = shape;
        named.tensor.elements = std::move(shown->elements);
        named.tensor.dtype = shown->dtype;
        named.tensor.is_parameter = is_parameter;
    }

    const model::Rank& rank_;
    const TensorSelection& selection_;
    std::unordered_map<std::string, std::size_t> position_;
    std::unordered_map<std::string, std::vector<std::string>> tied_;
    std::vector<NamedTensor> tensors_;
};

Result<void> check_convertible(const ShownTensor& tensor, const std::string& name, const std::string& display) {
    const model::DType from = tensor.elements.dtype();
    if (from != tensor.dtype && !model::is_convertible(from, tensor.dtype)) {
        return Error(ErrorCode::unsupported, display + ": '" + name + "' is " + std::string(model::name(from)) +
                                                 ", which ckptfs does not convert to " +
                                                 std::string(model::name(tensor.dtype)) +
                                                 "; give --dtype=source, or leave it out with --parameters");
    }
    return {};
}

Result<void> check_tells_trainable(const model::Rank& rank, const std::string& display) {
    for (const model::Group& group : rank.groups) {
        for (const model::Parameter& parameter : group.parameters) {
            if (!parameter.trainable) {
                return Error(ErrorCode::unsupported,
                             display + " does not tell whether '" + parameter.name +
                                 "' is trained, as no checkpoint of ZeRO stage 0 does, so --trainable-only cannot be "
                                 "followed; choose by name with --parameters");
            }
        }
    }
    return {};
}

Error collision(const std::string& display, const std::string& first, const std::string& second,
                const std::string& shown) {
    return {ErrorCode::invalid_argument, display + ": '" + first + "' and '" + second + "' would both be called '" +
                                             shown + "'; give other --strip-prefix or --rename"};
}

}  // namespace

Result<std::vector<ShownTensor>> shown_tensors(const model::Rank& rank, const TensorNames& names,
                                               const TensorSelection& selection, const std::string& display) {
    if (selection.trainable_only) {
        CKPTFS_TRY(check_tells_trainable(rank, display));
    }
    std::vector<ShownTensor> shown;
    std::map<std::string, std::string> own_names;  // the checkpoint's, by the one that is shown
    for (NamedTensor& named : TensorList(rank, selection).make()) {
        ShownTensor& tensor = named.tensor;
        bool is_named = false;
        for (const std::string& own : named.names) {
            CKPTFS_ASSIGN(const bool is_selected, names.is_selected(own));
            if (!is_selected) {
                continue;
            }
            CKPTFS_ASSIGN(std::string name, names.shown(own));
            const auto [other, is_new] = own_names.emplace(name, own);
            if (!is_new) {
                return collision(display, other->second, own, name);
            }
            if (is_named) {
                tensor.tied.push_back(std::move(name));
            } else {
                tensor.name = std::move(name);
            }
            is_named = true;
        }
        if (is_named) {
            CKPTFS_TRY(check_convertible(tensor, named.names.front(), display));
            shown.push_back(std::move(tensor));
        }
    }
    return shown;
}

Error nothing_shown(const std::string& display) {
    return {ErrorCode::invalid_argument,
            display + " has no tensor that is asked for; see --parameters and --trainable-only"};
}

}  // namespace ckptfs::view
