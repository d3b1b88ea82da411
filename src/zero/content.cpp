// One family at a time; every name of `module` ends as a parameter, a buffer, a tied name or a gap.
#include "zero/content.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "zero/config.h"
#include "zero/content_numbers.h"
#include "zero/fields.h"
#include "zero/model_states.h"
#include "zero/module_tensors.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

// Tied layers are registered once under this name, whatever layers they are (PipelineModule._build).
constexpr std::string_view tied_modules_prefix = "tied_modules.";

std::vector<std::string_view> buffer_names_of(const Node* root) {
    std::vector<std::string_view> names;
    const Node* list = pickle::find(root, "buffer_names");
    if (list != nullptr && (list->kind == Kind::list || list->kind == Kind::tuple)) {
        for (const Node* name : list->items) {
            names.push_back(name->text);
        }
    }
    return names;
}

/// The dtype that the stored config makes the engine compute with; nullopt where it names none.
std::optional<model::DType> configured_dtype(const Node* root, std::string_view optimizer_prefix) {
    const nlohmann::json config = config_json(pickle::find(root, "ds_config"));
    if (enabled(config, {"bf16", "enabled"}) || optimizer_prefix == "bf16_") {
        return model::DType::bfloat16;
    }
    if (enabled(config, {"fp16", "enabled"})) {
        return model::DType::float16;
    }
    return std::nullopt;
}

/// The content of one family.
class FamilyContent {
 public:
    FamilyContent(const Family& family, std::string_view optimizer_prefix, model::Rank& rank,
                  std::vector<std::string>& gaps)
        : family_(family),
          root_(family.model_states->root()),
          path_(family.model_states->file()->name()),
          is_stage3_(family.zero3.has_value()),
          gaps_(gaps),
          module_(module_tensors(*family.model_states, pickle::find(root_, "module"), "", gaps)),
          configured_(configured_dtype(root_, optimizer_prefix)),
          rank_(rank) {
        module_.insert(module_.end(), family.layers.tensors.begin(), family.layers.tensors.end());
        gaps.insert(gaps.end(), family.layers.gaps.begin(), family.layers.gaps.end());
        for (const ModuleTensor& tensor : module_) {
            by_name_.emplace(tensor.name, &tensor);
        }
    }

    void complete() {
        rank_.name = family_.rank;
        complete_groups();
        add_buffers();
        add_frozen();
        add_shared_names();
        add_the_rest();
        for (const ModuleTensor& tensor : module_) {
            if (placed_.contains(tensor.name)) {
                rank_.order.push_back(tensor.name);
            }
        }
    }

 private:
    [[nodiscard]] const ModuleTensor* find(std::string_view name) const {
        const auto found = by_name_.find(name);
        return found == by_name_.end() ? nullptr : found->second;
    }

    void add_gap(const std::string& name, const std::string& finding) {
        gaps_.push_back(path_ + ": " + name + " " + finding);
    }

    // nullopt, and a gap, where the tensor's elements do not lie side by side in this order.
    std::optional<model::Elements> elements_of(const ModuleTensor& tensor) {
        if (!tensor.contiguous) {
            gaps_.push_back(tensor.file->name() + ": " + tensor.name +
                            " is a view whose elements do not lie side by side; save the contiguous tensor instead");
            return std::nullopt;
        }
        return tensor.elements();
    }

    void complete_groups() {
        const std::vector<model::Scalars> numbers = group_hyper_parameters(family_);
        for (std::size_t g = 0; g < rank_.groups.size(); ++g) {
            model::Group& group = rank_.groups[g];
            if (g < numbers.size()) {
                group.hyper_parameters = numbers[g];
            }
            for (model::Parameter& parameter : group.parameters) {
                parameter.dtype = configured_.value_or(family_.groups[g].master.dtype);
                complete_parameter(parameter);
            }
        }
    }

    void complete_parameter(model::Parameter& parameter) {
        placed_.insert(parameter.name);
        const ModuleTensor* tensor = find(parameter.name);
        if (tensor == nullptr) {
            if (!is_stage3_ && !parameter.master) {
                add_gap(parameter.name, "has no tensor in the model states, and no master was read");
            }
            return;
        }
        parameter.dtype = tensor->dtype;
        if (is_stage3_) {
            return;  // the tensor is empty: only its dtype means something
        }
        if (tensor->shape != parameter.shape) {
            add_gap(parameter.name, "has another shape in module than in param_shapes; restore the file of one save");
            return;
        }
        parameter.weight = elements_of(*tensor);
    }

    void add_buffers() {
        for (const std::string_view name : buffer_names_of(root_)) {
            const ModuleTensor* tensor = find(name);
            if (tensor == nullptr || !placed_.insert(tensor->name).second) {
                continue;  // a buffer that its module does not save
            }
            if (std::optional<model::Elements> elements = elements_of(*tensor)) {
                rank_.buffers.push_back({tensor->name, tensor->shape, *std::move(elements)});
            }
        }
    }

    void add_frozen() {
        if (is_stage3_) {
            for (const FrozenFragments& fragments : family_.zero3->frozen) {
                add_frozen_parameter(fragments.parameter, *fragments.parameter.weight);
            }
            return;
        }
        const Node* shapes = pickle::find(root_, "frozen_param_shapes");
        if (!pickle::is_dict_like(shapes)) {
            return;  // stages 0 and 1, which do not list them, and files that leave them out
        }
        const auto listed = read_shapes({shapes, {path_, "frozen_param_shapes"}});
        if (!listed) {
            gaps_.push_back(listed.error().message());
            return;
        }
        const std::vector<ModuleTensor> fragments =
            module_tensors(*family_.model_states, pickle::find(root_, "frozen_param_fragments"), "", gaps_);
        std::unordered_map<std::string_view, const ModuleTensor*> saved;
        for (const ModuleTensor& fragment : fragments) {
            saved.emplace(fragment.name, &fragment);
        }
        for (const Parameter& parameter : *listed) {
            const ModuleTensor* tensor = find(parameter.name);
            if (const auto found = saved.find(parameter.name); tensor == nullptr && found != saved.end()) {
                tensor = found->second;
            }
            if (tensor == nullptr) {
                add_gap(parameter.name, "is listed in frozen_param_shapes, but the file does not hold it");
            } else if (tensor->shape != parameter.shape) {
                add_gap(parameter.name, "has another shape than in frozen_param_shapes; restore the file of one save");
            } else if (std::optional<model::Elements> elements = elements_of(*tensor)) {
                add_frozen_parameter(parameter.in_content(), *std::move(elements));
            }
        }
    }

    void add_frozen_parameter(model::Parameter parameter, model::Elements elements) {
        if (!placed_.insert(parameter.name).second) {
            return;
        }
        parameter.trainable = false;
        parameter.dtype = elements.dtype();
        parameter.weight = std::move(elements);
        rank_.frozen.push_back(std::move(parameter));
    }

    void add_shared_names() {
        for (const auto& [name, owner] : pickle::dict_items(pickle::find(root_, "shared_params"))) {
            if (name->kind == Kind::string && owner->kind == Kind::string && placed_.contains(owner->text) &&
                placed_.insert(name->text).second) {
                rank_.tied.push_back({name->text, owner->text});
            }
        }
    }

    // What no list of the file names: at stage 0 every parameter, at stage 1 the frozen ones, at all stages the tied
    // names that the file of another rank lists.
    void add_the_rest() {
        model::Group* stage0 = nullptr;
        if (const Node* optimizer = pickle::find(root_, "optimizer");
            rank_.groups.empty() && optimizer != nullptr && optimizer->kind != Kind::none) {
            stage0 = &rank_.groups.emplace_back();
        }
        std::vector<const ModuleTensor*> owners;
        for (const ModuleTensor& tensor : module_) {
            if (placed_.contains(tensor.name)) {
                owners.push_back(&tensor);
            }
        }
        std::unordered_map<std::uint64_t, std::vector<const ModuleTensor*>> by_offset;
        for (const ModuleTensor* owner : owners) {
            by_offset[owner->offset].push_back(owner);
        }
        for (const ModuleTensor& tensor : module_) {
            if (placed_.contains(tensor.name) || is_tied_layer(tensor)) {
                continue;
            }
            if (const ModuleTensor* owner = sole_owner(by_offset[tensor.offset], tensor)) {
                rank_.tied.push_back({tensor.name, owner->name});
                placed_.insert(tensor.name);
                continue;
            }
            if (is_stage3_) {
                if (tensor.numel == 0) {
                    add_gap(tensor.name,
                            "is a parameter whose data no file holds (DeepSpeed before 0.9.1, or saved "
                            "with exclude_frozen_parameters)");
                }
                continue;
            }
            const std::optional<model::Elements> elements = elements_of(tensor);
            if (!elements) {
                continue;
            }
            by_offset[tensor.offset].push_back(&tensor);
            model::Parameter parameter = Parameter{tensor.name, tensor.shape, tensor.numel}.in_content();
            if (stage0 == nullptr) {
                add_frozen_parameter(std::move(parameter), *elements);
                continue;
            }
            parameter.dtype = tensor.dtype;
            parameter.weight = *elements;
            parameter.trainable.reset();
            stage0->parameters.push_back(std::move(parameter));
            placed_.insert(tensor.name);
        }
    }

    // Under stage 3 the tensors are empty, and parameters of one dtype could share one: then nothing is told.
    static const ModuleTensor* sole_owner(const std::vector<const ModuleTensor*>& candidates,
                                          const ModuleTensor& tensor) {
        const ModuleTensor* owner = nullptr;
        for (const ModuleTensor* candidate : candidates) {
            if (candidate->is(tensor)) {
                if (owner != nullptr && tensor.numel == 0) {
                    return nullptr;
                }
                owner = owner == nullptr ? candidate : owner;
            }
        }
        return owner;
    }

    // A tensor of a pipeline's layer that may be a tied one, whose parameter stands under another name.
    [[nodiscard]] bool is_tied_layer(const ModuleTensor& tensor) const {
        const std::size_t dot = tensor.name.find('.');
        if (family_.layers.tensors.empty() || dot == std::string::npos) {
            return false;
        }
        const std::string_view in_layer = std::string_view(tensor.name).substr(dot);
        for (const model::Group& group : rank_.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                if (parameter.name.starts_with(tied_modules_prefix) && parameter.name.ends_with(in_layer) &&
                    parameter.shape == tensor.shape) {
                    return true;
                }
            }
        }
        return false;
    }

    const Family& family_;
    const Node* root_;
    const std::string& path_;
    bool is_stage3_;
    std::vector<std::string>& gaps_;
    std::vector<ModuleTensor> module_;
    std::optional<model::DType> configured_;
    std::unordered_map<std::string_view, const ModuleTensor*> by_name_;
    std::unordered_set<std::string> placed_;  // names that stand in rank_ by now
    model::Rank& rank_;
};

}  // namespace

void complete_content(std::span<const Family> families, std::string_view optimizer_prefix, model::Checkpoint& content) {
    for (std::size_t index = 0; index < families.size(); ++index) {
        FamilyContent(families[index], optimizer_prefix, content.ranks[index], content.gaps).complete();
    }
    const Node* steps =
        families.empty() ? nullptr : pickle::find(families.front().model_states->root(), "global_steps");
    if (steps != nullptr && steps->kind == Kind::integer) {
        content.global_steps = steps->integer;
    }
}

}  // namespace ckptfs::zero
