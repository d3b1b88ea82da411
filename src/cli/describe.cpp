// From the hub and the pickles around it to a description.
#include <algorithm>
#include <set>
#include <utility>

#include "cli/description.h"
#include "view/zero12_files.h"
#include "zero/reader.h"

namespace ckptfs::cli {
namespace {

using Json = nlohmann::ordered_json;
using pickle::Node;

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
    const Node* base = pickle::find(pickle::find(root, "optimizer_state_dict"), "base_optimizer_state");
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

GroupDescription describe_group(const zero::ParameterGroup& group, const zero::FlatLayout& layout,
                                zero::Format format) {
    GroupDescription result;
    result.parameters = group.parameters.size();
    for (const zero::Parameter& parameter : group.parameters) {
        result.numel += parameter.numel;
    }
    result.cut = cut_of(layout, format);
    result.weights_dtype = group.weights ? std::string(pt::name(group.weights->dtype)) : "";
    result.master_dtype = pt::name(group.master.dtype);
    for (const zero::State& state : group.states) {
        result.states.push_back({state.key, std::string(pt::name(state.dtype))});
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
    for (const auto& [name, value] : pickle::dict_items(pickle::find(root, "module"))) {
        if (tied.contains(name->text)) {
            ++result.tied;
        } else if (buffers.contains(name->text)) {
            ++result.buffers;
        } else if (!optimized.contains(name->text) && pt::is_tensor(value)) {
            CKPTFS_ASSIGN(const auto tensor, pt::tensor_ref(value));
            ++result.frozen;
            result.frozen_numel += tensor.numel();
        }
    }
    return {};
}

void add_groups(const zero::ModelParallelRank& family, const std::vector<zero::FlatLayout>& layouts,
                zero::Format format, CheckpointDescription& result) {
    const std::vector<HyperParameters> values = hyper_parameters(family);
    for (std::size_t index = 0; index < family.groups.size(); ++index) {
        GroupDescription group = describe_group(family.groups[index], layouts[index], format);
        group.model_rank = family.rank;
        group.index = index;
        if (index < values.size()) {
            group.hyper_parameters = values[index];
        }
        result.parameters += group.parameters;
        result.numel += group.numel;
        result.groups.push_back(std::move(group));
    }
}

}  // namespace

Result<CheckpointDescription> describe(const zero::Checkpoint& checkpoint, const std::vector<DirectoryEntry>& listing) {
    CheckpointDescription result;
    result.format = zero::name(checkpoint.format);
    result.stage = checkpoint.stage;
    result.world_size = checkpoint.world_size();
    result.dp_world_size = checkpoint.dp_world_size;
    result.model_parallel_degree = checkpoint.model_parallel.size();
    result.deepspeed_version = checkpoint.deepspeed_version;
    std::set<std::string> used;
    for (const zero::ModelParallelRank& family : checkpoint.model_parallel) {
        used.insert(family.model_states_name);
        result.nbytes += family.model_states_info.stamp.size;
        for (const zero::RankFile& rank : family.optimizer) {
            used.insert(rank.name);
            result.nbytes += rank.info.stamp.size;
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
    const Node* step = pickle::find(family.model_states->root(), "global_steps");
    if (step != nullptr && step->kind == pickle::Kind::integer) {
        result.global_step = step->integer;
    }
    if (checkpoint.format == zero::Format::stage0) {
        return result;
    }
    CKPTFS_ASSIGN(const auto target, view::target_layout(checkpoint, checkpoint.dp_world_size, std::nullopt));
    for (std::size_t rank = 0; rank < checkpoint.model_parallel.size(); ++rank) {
        CKPTFS_TRY(add_module(checkpoint.model_parallel[rank], result.module));
        add_groups(checkpoint.model_parallel[rank], target.families[rank], checkpoint.format, result);
    }
    return result;
}

}  // namespace ckptfs::cli
