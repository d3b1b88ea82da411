// From the hub and the pickles around it to a description.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "report/description.h"
#include "zero/reader.h"

namespace ckptfs::report {
namespace {

using Json = nlohmann::ordered_json;
using pickle::Node;

constexpr std::string_view optimizer_key = "optimizer_state_dict";  // at stage 3 also of the inner optimizer

/// Scalars, and lists of them (betas); a null for anything else.
Json as_hyper_parameter(const Node* node) {
    switch (node->kind) {
        case pickle::Kind::boolean:
            return node->integer != 0;
        case pickle::Kind::integer:
            return node->integer;
        case pickle::Kind::real:
            return node->real;
        case pickle::Kind::string:
            return node->text;
        case pickle::Kind::list:
        case pickle::Kind::tuple: {
            Json values = Json::array();
            for (const Node* item : node->items) {
                const bool nested = item->kind == pickle::Kind::list || item->kind == pickle::Kind::tuple;
                values.push_back(nested ? Json() : as_hyper_parameter(item));
            }
            return values;
        }
        default:
            return {};
    }
}

/// Of every group that the first rank's param_groups has; the elastic form has none.
std::vector<HyperParameters> hyper_parameters(const zero::ModelParallelRank& family) {
    std::vector<HyperParameters> result;
    const Node* root = family.optimizer.front().structure->root();
    const Node* optimizer = pickle::find(root, optimizer_key);
    const Node* base =
        pickle::find(optimizer, family.model_states_shards.empty() ? "base_optimizer_state" : optimizer_key);
    const Node* groups = pickle::find(base, "param_groups");
    if (groups == nullptr || groups->kind != pickle::Kind::list) {
        return result;
    }
    for (const Node* group : groups->items) {
        HyperParameters values;
        for (const auto& [key, value] : pickle::dict_items(group)) {
            if (key->kind == pickle::Kind::string && key->text != "params") {
                values.emplace_back(key->text, as_hyper_parameter(value));
            }
        }
        result.push_back(std::move(values));
    }
    return result;
}

// At stage 3 the tensors in `module` are empty, but of the weights' dtype.
Result<std::string> weights_dtype(const zero::ModelParallelRank& family, const zero::ParameterGroup& group) {
    if (group.weights) {
        return std::string(model::name(group.weights->dtype));
    }
    const Node* tensor =
        family.model_states_shards.empty() || group.parameters.empty()
            ? nullptr
            : pickle::find(pickle::find(family.model_states->root(), "module"), group.parameters.front().name);
    if (!pt::is_tensor(tensor)) {
        return std::string();
    }
    CKPTFS_ASSIGN(const pt::TensorRef ref, pt::tensor_ref(tensor));
    return std::string(model::name(ref.dtype));
}

Result<GroupDescription> describe_group(const zero::ModelParallelRank& family, const zero::ParameterGroup& group,
                                        GroupCut cut) {
    GroupDescription result;
    result.parameters = group.parameters.size();
    for (const zero::Parameter& parameter : group.parameters) {
        result.numel += parameter.numel;
    }
    result.cut = std::move(cut);
    CKPTFS_ASSIGN(result.weights_dtype, weights_dtype(family, group));
    result.master_dtype = model::name(group.master.dtype);
    for (const zero::State& state : group.states) {
        result.states.push_back({state.key, std::string(model::name(state.dtype))});
    }
    return result;
}

std::set<std::string> strings_in(const Node* list) {
    std::set<std::string> result;
    if (list != nullptr && (list->kind == pickle::Kind::list || list->kind == pickle::Kind::tuple)) {
        for (const Node* item : list->items) {
            result.insert(item->text);
        }
    }
    return result;
}

Result<void> add_module(const zero::ModelParallelRank& family, ModuleDescription& result) {
    const Node* root = family.model_states->root();
    const std::set<std::string> buffers = strings_in(pickle::find(root, "buffer_names"));
    std::set<std::string> tied;
    for (const auto& [duplicate, owner] : pickle::dict_items(pickle::find(root, "shared_params"))) {
        tied.insert(duplicate->text);
    }
    std::set<std::string> optimized;
    for (const zero::ParameterGroup& group : family.groups) {
        for (const zero::Parameter& parameter : group.parameters) {
            optimized.insert(parameter.name);
        }
    }
    std::map<std::string, std::uint64_t> frozen_numel;  // stage 3, where `module` holds no tensors
    for (const zero::FrozenParameter& frozen : family.frozen) {
        frozen_numel[frozen.parameter.name] = frozen.parameter.numel;
    }
    for (const auto& [name, value] : pickle::dict_items(pickle::find(root, "module"))) {
        if (tied.contains(name->text)) {
            ++result.tied;
        } else if (buffers.contains(name->text)) {
            ++result.buffers;
        } else if (!optimized.contains(name->text) && pt::is_tensor(value)) {
            CKPTFS_ASSIGN(const auto tensor, pt::tensor_ref(value));
            const auto cut = frozen_numel.find(name->text);
            ++result.frozen;
            result.frozen_numel += cut == frozen_numel.end() ? tensor.numel() : cut->second;
        }
    }
    return {};
}

// `cuts`: of all model-parallel ranks; those of this one begin at `first`.
Result<void> add_groups(const zero::ModelParallelRank& family, std::vector<GroupCut>& cuts, std::size_t first,
                        CheckpointDescription& result) {
    const std::vector<HyperParameters> values = hyper_parameters(family);
    for (std::size_t index = 0; index < family.groups.size(); ++index) {
        CKPTFS_ASSIGN(GroupDescription group,
                      describe_group(family, family.groups[index], std::move(cuts[first + index])));
        group.model_rank = family.rank;
        group.index = index;
        if (index < values.size()) {
            group.hyper_parameters = values[index];
        }
        result.parameters += group.parameters;
        result.numel += group.numel;
        result.groups.push_back(std::move(group));
    }
    return {};
}

}  // namespace

std::optional<std::int64_t> global_step_of(const zero::Checkpoint& checkpoint) {
    const Node* step = pickle::find(checkpoint.model_parallel.front().model_states->root(), "global_steps");
    return step != nullptr && step->kind == pickle::Kind::integer ? std::optional(step->integer) : std::nullopt;
}

Result<CheckpointDescription> describe(const zero::Checkpoint& checkpoint, const std::vector<DirectoryEntry>& listing) {
    CheckpointDescription result;
    result.format = zero::name(checkpoint.format);
    result.stage = checkpoint.stage;
    result.world_size = checkpoint.world_size();
    result.dp_world_size = checkpoint.dp_world_size;
    result.model_parallel_degree = checkpoint.model_parallel.size();
    result.sequence_parallel_degree = checkpoint.sequence_parallel;
    result.deepspeed_version = checkpoint.deepspeed_version;
    std::set<std::string> used;
    for (const zero::ModelParallelRank& family : checkpoint.model_parallel) {
        if (family.model_states_shards.empty()) {
            used.insert(family.model_states_name);
            result.nbytes += family.model_states_info.stamp.size;
        }
        for (const auto* files : {&family.model_states_shards, &family.optimizer, &family.layers}) {
            for (const zero::RankFile& rank : *files) {
                used.insert(rank.name);
                result.nbytes += rank.info.stamp.size;
            }
        }
    }
    result.files = used.size();
    for (const std::string& name : zero::shard_files(listing)) {
        if (!used.contains(name)) {
            result.left_over.push_back(name);
        }
    }
    const zero::ModelParallelRank& family = checkpoint.model_parallel.front();
    result.pickle_protocol = family.model_states->tree()->protocol();
    result.global_step = global_step_of(checkpoint);
    if (checkpoint.format == zero::Format::stage0) {
        return result;
    }
    CKPTFS_ASSIGN(std::vector<GroupCut> cuts, group_cuts(checkpoint, checkpoint.dp_world_size, {}));
    for (const zero::ModelParallelRank& rank : checkpoint.model_parallel) {
        CKPTFS_TRY(add_module(rank, result.module));
        CKPTFS_TRY(add_groups(rank, cuts, result.groups.size(), result));
    }
    return result;
}

}  // namespace ckptfs::report
