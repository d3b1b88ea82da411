// A description for programs. docs/cli.md names the keys.
#include <utility>

#include "report/description.h"

namespace ckptfs::report {
namespace {

using Json = nlohmann::ordered_json;

/// Equal neighbours joined, so that a million ranks stay readable.
Json padding_json(const std::vector<std::uint64_t>& values) {
    Json runs = Json::array();
    for (std::size_t rank = 0; rank < values.size(); ++rank) {
        if (rank > 0 && values[rank] == values[rank - 1]) {
            runs.back()["last_rank"] = rank;
        } else {
            runs.push_back({{"first_rank", rank}, {"last_rank", rank}, {"numel", values[rank]}});
        }
    }
    return runs;
}

Json sub_groups_json(const GroupCut& cut) {
    return cut.sub_groups.empty() ? Json() : Json(cut.sub_groups);
}

Json cut_json(const GroupCut& cut) {
    return {{"partition_numel", cut.partition_numel},
            {"padding", padding_json(cut.padding_numel)},
            {"sub_groups_numel", sub_groups_json(cut)}};
}

Json group_json(const GroupDescription& group) {
    Json hyper_parameters = Json::object();
    for (const auto& [name, value] : group.hyper_parameters) {
        hyper_parameters[name] = value;
    }
    Json states = Json::object();
    for (const StateDescription& state : group.states) {
        states[state.key] = state.dtype;
    }
    return {{"model_parallel_rank", group.model_rank},
            {"parameters", group.parameters},
            {"numel", group.numel},
            {"weights_dtype", group.weights_dtype.empty() ? Json() : Json(group.weights_dtype)},
            {"master_dtype", group.master_dtype},
            {"optimizer_states", std::move(states)},
            {"hyper_parameters", std::move(hyper_parameters)},
            {"partition_numel", group.cut.partition_numel},
            {"padding", padding_json(group.cut.padding_numel)},
            {"sub_groups_numel", sub_groups_json(group.cut)}};
}

Json checkpoint_json(const Description& description) {
    const CheckpointDescription& checkpoint = *description.checkpoint;
    Json groups = Json::array();
    for (const GroupDescription& group : checkpoint.groups) {
        groups.push_back(group_json(group));
    }
    return {{"tag", description.described_tag},
            {"format", checkpoint.format},
            {"stage", checkpoint.stage},
            {"world_size", checkpoint.world_size},
            {"dp_world_size", checkpoint.dp_world_size},
            {"model_parallel_degree", checkpoint.model_parallel_degree},
            {"sequence_parallel_degree", checkpoint.sequence_parallel_degree},
            {"deepspeed_version", checkpoint.deepspeed_version},
            {"global_step", checkpoint.global_step ? Json(*checkpoint.global_step) : Json()},
            {"parameters", checkpoint.parameters},
            {"numel", checkpoint.numel},
            {"frozen_parameters", checkpoint.module.frozen},
            {"frozen_numel", checkpoint.module.frozen_numel},
            {"tied_names", checkpoint.module.tied},
            {"buffers", checkpoint.module.buffers},
            {"files", checkpoint.files},
            {"nbytes", checkpoint.nbytes},
            {"pickle_protocol", checkpoint.pickle_protocol},
            {"left_over_files", checkpoint.left_over},
            {"groups", std::move(groups)}};
}

Json files_json(const std::vector<CutFile>& described) {
    Json files = Json::array();
    for (const CutFile& file : described) {
        Json parts = Json::object();
        for (const CutPart& part : file.parts) {
            parts[part.file] = part.nbytes;
        }
        files.push_back({{"name", file.name},
                         {"nbytes", file.nbytes},
                         {"original", file.original},
                         {"made_of_nbytes", std::move(parts)}});
    }
    return files;
}

Json views_json(const std::vector<ViewAnswer>& answers) {
    Json views = Json::array();
    for (const ViewAnswer& answer : answers) {
        views.push_back({{"name", answer.view}, {"problem", answer.problem ? Json(*answer.problem) : Json()}});
    }
    return views;
}

Json cuts_json(const Cuts& cuts) {
    Json groups = Json::array();
    for (const GroupCut& cut : cuts.groups) {
        groups.push_back(cut_json(cut));
    }
    return {{"world_size", cuts.world_size},
            {"groups", std::move(groups)},
            {"file_count", cuts.file_count},
            {"files", files_json(cuts.files)}};
}

Json view_json(const ShownView& view) {
    return {{"name", view.name}, {"file_count", view.file_count}, {"files", files_json(view.files)}};
}

}  // namespace

std::string as_json(const Description& description) {
    Json tags = Json::array();
    for (const TagDescription& tag : description.tags) {
        tags.push_back({{"name", tag.name},
                        {"latest", tag.latest},
                        {"whole", !tag.problem},
                        {"world_size", tag.world_size == 0 ? Json() : Json(tag.world_size)},
                        {"global_step", tag.global_step ? Json(*tag.global_step) : Json()},
                        {"mtime_ns", tag.mtime_ns == 0 ? Json() : Json(tag.mtime_ns)},
                        {"newest", tag.newest},
                        {"problem", tag.problem ? Json(*tag.problem) : Json()},
                        {"warnings", tag.warnings},
                        {"views", views_json(tag.views)}});
    }
    const Json result{{"schema_version", 1},
                      {"source", description.source},
                      {"tags", std::move(tags)},
                      {"checkpoint", description.checkpoint ? checkpoint_json(description) : Json()},
                      {"recut", description.cuts ? cuts_json(*description.cuts) : Json()},
                      {"view", description.shown ? view_json(*description.shown) : Json()},
                      {"problems", description.problems},
                      {"warnings", description.warnings}};
    return result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace ckptfs::report
