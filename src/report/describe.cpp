// From a checkpoint and its files to a description.
#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "report/description.h"
#include "zero/reader.h"

namespace ckptfs::report {
namespace {

using Json = nlohmann::ordered_json;

Json as_json(const model::Scalar& scalar) {
    return std::visit([](const auto& value) { return Json(value); }, scalar);
}

/// With lists put together again: "betas[0]" and "betas[1]" are one value.
HyperParameters hyper_parameters(const model::Scalars& scalars) {
    HyperParameters result;
    for (const auto& [key, value] : scalars) {
        const std::size_t bracket = key.ends_with(']') ? key.rfind('[') : std::string::npos;
        const std::string name = key.substr(0, bracket);
        if (bracket == std::string::npos) {
            result.emplace_back(name, as_json(value));
        } else if (!result.empty() && result.back().first == name && result.back().second.is_array()) {
            result.back().second.push_back(as_json(value));
        } else {
            result.emplace_back(name, Json::array({as_json(value)}));
        }
    }
    return result;
}

GroupDescription describe_group(const model::Group& group, GroupCut cut) {
    GroupDescription result;
    result.parameters = group.parameters.size();
    for (const model::Parameter& parameter : group.parameters) {
        result.numel += parameter.numel;
    }
    result.cut = std::move(cut);
    result.hyper_parameters = hyper_parameters(group.hyper_parameters);
    if (group.parameters.empty()) {
        return result;
    }
    const model::Parameter& first = group.parameters.front();
    result.weights_dtype = model::name(first.dtype);
    if (first.master) {
        result.master_dtype = model::name(first.master->dtype());
    }
    for (std::size_t index = 0; index < first.states.size(); ++index) {
        result.states.push_back({group.states[index], std::string(model::name(first.states[index].dtype()))});
    }
    return result;
}

void add_module(const model::Rank& rank, ModuleDescription& result) {
    result.frozen += rank.frozen.size();
    for (const model::Parameter& frozen : rank.frozen) {
        result.frozen_numel += frozen.numel;
    }
    result.tied += rank.tied.size();
    result.buffers += rank.buffers.size();
}

// `cuts`: of all model-parallel ranks; those of this one begin at `first`.
void add_groups(const model::Rank& rank, std::vector<GroupCut>& cuts, std::size_t first,
                CheckpointDescription& result) {
    for (std::size_t index = 0; index < rank.groups.size(); ++index) {
        GroupDescription group = describe_group(rank.groups[index], std::move(cuts[first + index]));
        group.model_rank = rank.name;
        group.index = index;
        result.parameters += group.parameters;
        result.numel += group.numel;
        result.groups.push_back(std::move(group));
    }
}

}  // namespace

Result<CheckpointDescription> describe(const zero::Written& checkpoint, const std::vector<DirectoryEntry>& listing) {
    CheckpointDescription result;
    result.format = zero::name(checkpoint.format);
    result.stage = checkpoint.stage;
    result.world_size = checkpoint.world_size();
    result.dp_world_size = checkpoint.dp_world_size;
    result.model_parallel_degree = checkpoint.families.size();
    result.sequence_parallel_degree = checkpoint.sequence_parallel;
    result.deepspeed_version = checkpoint.deepspeed_version;
    std::set<std::string> used;
    for (const zero::Family& family : checkpoint.families) {
        if (family.model_states_of_ranks().empty()) {
            used.insert(family.model_states_name);
            result.nbytes += family.model_states_info.stamp.size;
        }
        for (const zero::RankFile* rank : family.rank_files()) {
            used.insert(rank->name);
            result.nbytes += rank->info.stamp.size;
        }
    }
    result.files = used.size();
    for (const std::string& name : zero::shard_files(listing)) {
        if (!used.contains(name)) {
            result.left_over.push_back(name);
        }
    }
    const zero::Family& family = checkpoint.families.front();
    result.pickle_protocol = family.model_states->tree()->protocol();
    result.global_step = checkpoint.content.global_steps;
    if (checkpoint.format == zero::Format::stage0) {
        return result;
    }
    CKPTFS_ASSIGN(std::vector<GroupCut> cuts, group_cuts(checkpoint, checkpoint.dp_world_size, {}));
    for (const model::Rank& rank : checkpoint.content.ranks) {
        add_module(rank, result.module);
        add_groups(rank, cuts, result.groups.size(), result);
    }
    return result;
}

}  // namespace ckptfs::report
