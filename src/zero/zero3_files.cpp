// Takes stage-3 files apart; the fields are those of stage3.py state_dict() and engine.py _save_checkpoint.
#include "zero/zero3_files.h"

#include <unordered_map>

#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

Result<std::vector<FrozenEntry>> read_frozen(const Field& root, const pt::Archive& archive) {
    std::vector<FrozenEntry> frozen;
    const Node* fragments = pickle::find(root.node, "frozen_param_fragments");
    if (fragments == nullptr || fragments->kind == Kind::none) {
        return frozen;  // files before 0.9.1, or exclude_frozen_parameters
    }
    CKPTFS_ASSIGN(const Field shape_field, root.at("frozen_param_shapes"));
    CKPTFS_ASSIGN(std::vector<Parameter> shapes, read_shapes(shape_field));
    std::unordered_map<std::string, Parameter*> by_name;
    for (Parameter& parameter : shapes) {
        by_name[parameter.name] = &parameter;
    }
    const Field field{fragments, root.place.in("frozen_param_fragments")};
    CKPTFS_TRY(field.expect_dict());
    for (const auto& [name, value] : pickle::dict_items(fragments)) {
        if (name->kind != Kind::string) {
            return field.place.damaged("parameter names that are strings");
        }
        const Place place = field.place.in(name->text);
        const auto shape = by_name.find(name->text);
        if (shape == by_name.end()) {
            return place.damaged("a shape for it in frozen_param_shapes");
        }
        FrozenEntry entry;
        entry.parameter = *shape->second;
        CKPTFS_ASSIGN(entry.fragment, read_entry(name->text, {value, place}, archive));
        if (!entry.fragment.tensor || entry.fragment.dimensions != 1) {
            return place.damaged("a flat tensor");
        }
        frozen.push_back(std::move(entry));
    }
    return frozen;
}

Result<std::vector<SubGroupEntry>> read_masters(const Field& optimizer, const pt::Archive& archive) {
    CKPTFS_ASSIGN(const Field masters, optimizer.at("fp32_flat_groups"));
    CKPTFS_ASSIGN(const std::vector<Field> list, masters.as_list());
    std::vector<SubGroupEntry> sub_groups;
    for (const Field& master : list) {
        SubGroupEntry& entry = sub_groups.emplace_back();
        CKPTFS_ASSIGN(entry.master, read_entry("fp32", master, archive));
        if (!entry.master.tensor || entry.master.dimensions != 1) {
            return master.place.damaged("a flat tensor");
        }
        if (const Node* attributes = attributes_with_ds_id(master.node)) {
            entry.ds_id = pickle::find(attributes, "ds_id")->text;
        }
    }
    return sub_groups;
}

Result<void> read_groups(const Field& inner, const std::string& path, Zero3OptimizerFile& out) {
    CKPTFS_ASSIGN(const Field groups, inner.at("param_groups"));
    CKPTFS_ASSIGN(const std::vector<Field> list, groups.as_list());
    std::size_t next = 0;
    for (std::size_t g = 0; g < list.size(); ++g) {
        const Node* moe = pickle::find(list[g].node, "moe");
        if (moe != nullptr && moe->kind == Kind::boolean && moe->integer != 0) {
            return refuse(Refusal::mixture_of_experts, path, "parameter group " + std::to_string(g) + " has moe: True");
        }
        CKPTFS_ASSIGN(const Field params, list[g].at("params"));
        CKPTFS_ASSIGN(const std::vector<Field> ids, params.as_list());
        for (const Field& id : ids) {
            CKPTFS_ASSIGN(const std::uint64_t number, id.as_count());
            if (number != next++) {
                return id.place.damaged("the number of the next sub-group, " + std::to_string(next - 1));
            }
        }
        out.group_sub_groups.push_back(ids.size());
        out.group_steps.push_back(number_of(pickle::find(list[g].node, "step")));
    }
    if (next != out.sub_groups.size()) {
        return groups.place.damaged(std::to_string(out.sub_groups.size()) +
                                    " sub-groups in all groups together, as many as fp32_flat_groups");
    }
    return {};
}

Result<void> read_states(const Field& inner, const pt::Archive& archive, Zero3OptimizerFile& out) {
    CKPTFS_ASSIGN(const Field state, inner.at("state"));
    CKPTFS_TRY(state.expect_dict());
    for (const auto& [key, value] : pickle::dict_items(state.node)) {
        if (key->kind != Kind::integer || key->integer < 0 ||
            static_cast<std::uint64_t>(key->integer) >= out.sub_groups.size()) {
            return state.place.damaged("numbers of sub-groups as keys");
        }
        const auto index = static_cast<std::size_t>(key->integer);
        out.sub_groups[index].has_state = true;
        CKPTFS_ASSIGN(out.sub_groups[index].states, read_entries({value, state.place.in(index)}, archive));
    }
    return {};
}

}  // namespace

const Node* attributes_with_ds_id(const Node* tensor) {
    constexpr std::size_t state_argument = 3;
    if (!pickle::is_object_of(tensor, "torch._tensor", "_rebuild_from_type_v2")) {
        return nullptr;
    }
    const Node* attributes = pickle::item(pickle::item(tensor, 1), state_argument);
    const Node* id = pickle::find(attributes, "ds_id");
    return id != nullptr && id->kind == Kind::string ? attributes : nullptr;
}

void forget_tree(Zero3ModelStates& file) {
    for (FrozenEntry& frozen : file.frozen) {
        frozen.fragment.node = nullptr;
    }
    file.states.module.clear();
    file.states.archive.reset();
}

void forget_tree(Zero3OptimizerFile& file) {
    for (SubGroupEntry& sub_group : file.sub_groups) {
        sub_group.master.node = nullptr;
        for (StateEntry& state : sub_group.states) {
            state.node = nullptr;
        }
    }
    file.archive.reset();
}

Result<Zero3ModelStates> read_zero3_model_states(std::shared_ptr<const pt::Archive> archive) {
    Zero3ModelStates out;
    CKPTFS_ASSIGN(out.states, read_model_states(std::move(archive)));
    const Node* root = out.states.archive->root();
    const std::string& path = out.states.archive->file()->name();
    if (out.states.config.quantized_nontrainable_weights) {
        return refuse(Refusal::quantized_weights, path, "zero_quantized_nontrainable_weights in ds_config");
    }
    CKPTFS_ASSIGN(out.frozen, read_frozen({root, {path, ""}}, *out.states.archive));
    for (const FrozenEntry& frozen : out.frozen) {
        if (!out.states.config.known && frozen.fragment.dtype == model::DType::int8) {
            return refuse(Refusal::quantized_weights, path,
                          "frozen_param_fragments." + frozen.parameter.name +
                              " is of int8, and no ds_config is stored that says what it means");
        }
    }
    return out;
}

Result<Zero3OptimizerFile> read_zero3_optimizer_file(std::shared_ptr<const pt::Archive> archive) {
    const std::string& path = archive->file()->name();
    const Field root{archive->root(), {path, ""}};
    if (!pickle::is_dict_like(root.node)) {
        return Place{path, "its top level"}.damaged("a dict");
    }
    CKPTFS_ASSIGN(const Field optimizer, root.at("optimizer_state_dict"));
    CKPTFS_TRY(optimizer.expect_dict());
    if (pickle::find(optimizer.node, "ds_zero_partition_groups") != nullptr) {
        return refuse(Refusal::mixture_of_experts, path, "automatic expert parallelism: ds_zero_partition_groups");
    }
    Zero3OptimizerFile out;
    CKPTFS_ASSIGN(const Field partition_count, optimizer.at("partition_count"));
    CKPTFS_ASSIGN(out.partition_count, partition_count.as_count());
    CKPTFS_ASSIGN(out.sub_groups, read_masters(optimizer, *archive));
    CKPTFS_ASSIGN(const Field inner, optimizer.at("optimizer_state_dict"));
    CKPTFS_TRY(read_groups(inner, path, out));
    CKPTFS_TRY(read_states(inner, *archive, out));
    CKPTFS_ASSIGN(out.values, optimizer_values(root, optimizer, inner, *archive));
    for (std::size_t k = 0; k < out.sub_groups.size(); ++k) {
        const SubGroupEntry& entry = out.sub_groups[k];
        CKPTFS_TRY(add_state_values(k, entry.states, entry.master.shard.numel, *archive, out.values));
    }
    if (const Node* version = pickle::find(root.node, "ds_version");
        version != nullptr && version->kind == Kind::string) {
        out.deepspeed_version = version->text;
    }
    out.archive = std::move(archive);
    return out;
}

}  // namespace ckptfs::zero
