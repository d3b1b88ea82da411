// Reads a model-states file; the fields are those of engine.py _save_checkpoint and _get_zero_param_shapes.
#include "zero/model_states.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/checked.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

bool enabled(const Node* ds_config, std::string_view section) {
    const Node* value = pickle::find(pickle::find(ds_config, section), "enabled");
    return value != nullptr && value->kind == Kind::boolean && value->integer != 0;
}

Result<std::optional<pt::TensorRef>> module_tensor(const ModelStates& states, const Parameter& parameter) {
    const auto entry = states.module.find(parameter.name);
    if (entry == states.module.end() || !pt::is_tensor(entry->second)) {
        return std::optional<pt::TensorRef>();
    }
    auto tensor = pt::tensor_ref(entry->second);
    if (!tensor) {
        return tensor.error().within(states.archive->file()->name() + ": module." + parameter.name);
    }
    if (tensor->numel() != parameter.numel) {
        return Place{states.archive->file()->name(), "module." + parameter.name}.damaged(
            "as many elements as param_shapes says, " + std::to_string(parameter.numel));
    }
    return std::optional(std::move(tensor).value());
}

}  // namespace

model::Parameter Parameter::in_content() const {
    model::Parameter parameter;
    parameter.name = name;
    parameter.shape = shape;
    parameter.numel = numel;
    return parameter;
}

Result<std::vector<Parameter>> read_shapes(const Field& shapes) {
    CKPTFS_TRY(shapes.expect_dict());
    std::vector<Parameter> parameters;
    for (const auto& [key, value] : pickle::dict_items(shapes.node)) {
        if (key->kind != Kind::string) {
            return shapes.place.damaged("parameter names that are strings");
        }
        Parameter parameter;
        parameter.name = key->text;
        const Field shape{value, shapes.place.in(key->text)};
        CKPTFS_ASSIGN(parameter.shape, shape.as_shape());
        parameter.numel = 1;
        for (const std::uint64_t extent : parameter.shape) {
            const auto numel = checked_multiply(parameter.numel, extent);
            if (!numel) {
                return shape.place.damaged("a shape whose element count fits in 64 bits");
            }
            parameter.numel = *numel;
        }
        parameters.push_back(std::move(parameter));
    }
    return parameters;
}

Result<ModelStates> read_model_states(std::shared_ptr<const File> file) {
    CKPTFS_ASSIGN(std::shared_ptr<const pt::Archive> archive, pt::Archive::open(std::move(file)));
    return read_model_states(std::move(archive));
}

Result<ModelStates> read_model_states(std::shared_ptr<const pt::Archive> archive) {
    ModelStates states;
    const std::string path = archive->file()->name();
    states.archive = std::move(archive);
    const Field root{states.archive->root(), {path, ""}};
    if (!pickle::is_dict_like(root.node) || pickle::find(root.node, "dp_world_size") == nullptr) {
        return Error(ErrorCode::not_a_checkpoint,
                     path + ": expected DeepSpeed's model states, a dict with dp_world_size, and found another object");
    }
    CKPTFS_ASSIGN(const Field world_size, root.at("dp_world_size"));
    CKPTFS_ASSIGN(states.world_size, world_size.as_count());
    if (states.world_size == 0) {
        return world_size.place.damaged("a world size of at least 1 and found 0");
    }
    if (const Node* node = pickle::find(root.node, "mp_world_size")) {
        const Field degree{node, root.place.in("mp_world_size")};
        CKPTFS_ASSIGN(states.model_parallel, degree.as_count());
        if (states.model_parallel == 0) {
            return degree.place.damaged("a degree of at least 1 and found 0");
        }
    }
    const Node* optimizer = pickle::find(root.node, "optimizer");
    states.holds_optimizer = optimizer != nullptr && optimizer->kind != Kind::none;
    const Node* ds_config = pickle::find(root.node, "ds_config");
    states.config = layout_config(config_json(ds_config));
    states.default_itemsize = states.config.bf16 || enabled(ds_config, "fp16") ? 2 : 4;
    if (const Node* version = pickle::find(root.node, "ds_version");
        version != nullptr && version->kind == Kind::string) {
        states.deepspeed_version = version->text;
    }
    if (const Node* steps = pickle::find(root.node, "global_steps"); steps != nullptr && steps->kind == Kind::integer) {
        states.global_steps = steps->integer;
    }
    CKPTFS_ASSIGN(states.values, model_states_values(root, *states.archive));
    for (const auto& [name, value] : pickle::dict_items(pickle::find(root.node, "module"))) {
        states.module.insert_or_assign(name->text, value);
    }
    const Node* shapes = pickle::find(root.node, "param_shapes");
    if (shapes != nullptr && shapes->kind != Kind::none) {
        CKPTFS_ASSIGN(const std::vector<Field> groups, (Field{shapes, root.place.in("param_shapes")}.as_list()));
        for (const Field& group : groups) {
            CKPTFS_ASSIGN(std::vector<Parameter> parameters, read_shapes(group));
            states.groups.push_back(std::move(parameters));
        }
    }
    return states;
}

std::vector<Parameter> optimizer_order(const std::vector<Parameter>& flat_parameters, std::uint64_t world_size,
                                       bool round_robin) {
    if (!round_robin) {
        return flat_parameters;
    }
    const std::vector<std::uint32_t> order = round_robin_order(flat_parameters.size(), world_size);
    std::vector<Parameter> parameters(flat_parameters.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        parameters[order[i]] = flat_parameters[i];
    }
    return parameters;
}

Result<bool> has_module_tensors(const ModelStates& states, const std::vector<Parameter>& parameters) {
    for (const Parameter& parameter : parameters) {
        CKPTFS_ASSIGN(const std::optional<pt::TensorRef> tensor, module_tensor(states, parameter));
        if (tensor) {
            return true;
        }
    }
    return false;
}

Result<std::uint64_t> weights_itemsize(const ModelStates& states, const std::vector<Parameter>& parameters) {
    for (const Parameter& parameter : parameters) {
        CKPTFS_ASSIGN(const std::optional<pt::TensorRef> tensor, module_tensor(states, parameter));
        if (tensor) {
            return model::itemsize(tensor->storage.dtype);
        }
    }
    return states.default_itemsize;
}

Result<std::optional<WeightsBuffer>> find_weights(const ModelStates& states, const std::vector<Parameter>& parameters,
                                                  const FlatLayout& layout) {
    const std::optional<WeightsBuffer> none;
    std::vector<std::pair<const Slot*, pt::TensorRef>> tensors;
    for (const Slot& slot : layout.slots) {
        if (slot.numel == 0) {
            continue;
        }
        CKPTFS_ASSIGN(std::optional<pt::TensorRef> tensor, module_tensor(states, parameters[slot.parameter]));
        if (!tensor) {
            return none;  // a pipeline's weights are in its layer files
        }
        tensors.emplace_back(&slot, std::move(*tensor));
    }
    if (tensors.empty()) {
        return none;
    }
    const pt::StorageRef& storage = tensors.front().second.storage;
    const bool one_storage = std::all_of(tensors.begin(), tensors.end(), [&storage](const auto& entry) {
        return entry.second.storage.key == storage.key;
    });
    if (!one_storage || storage.numel != layout.padded_numel) {
        // Tensors with storages of their own do not depend on the world size. A single parameter tells nothing more.
        if (one_storage && tensors.size() > 1) {
            return Place{states.archive->file()->name(), "module"}.inconsistent(
                "the tensors of a parameter group share a buffer of " + std::to_string(storage.numel) +
                " elements, expected " + std::to_string(layout.padded_numel) + " at world size " +
                std::to_string(layout.world_size) + "; restore the file from the save that wrote the optimizer files");
        }
        return none;
    }
    for (const auto& [slot, tensor] : tensors) {
        if (tensor.offset_numel != slot->offset_numel) {
            return Place{states.archive->file()->name(), "module." + parameters[slot->parameter].name}.inconsistent(
                "it lies at element " + std::to_string(tensor.offset_numel) + " of its group's buffer, expected " +
                std::to_string(slot->offset_numel) +
                "; the stored ds_config does not describe the engine that wrote this checkpoint");
        }
    }
    const pt::RecordPlace& place = states.archive->storages()[*states.archive->storage_index(storage.key)].place;
    return std::optional(WeightsBuffer{
        storage.dtype, {place.file, place.offset, layout.padded_numel}, tensors.front().second.node, states.archive});
}

}  // namespace ckptfs::zero
