// A description for people: one screen.
#include <algorithm>
#include <array>
#include <set>
#include <sstream>
#include <utility>

#include "report/description.h"
#include "report/picture_text.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

constexpr std::size_t max_listed_tags = 12;
// Of hyper-parameters, those that one looks for first; --json has all.
constexpr std::array<const char*, 8> shown_hyper_parameters{"lr",  "initial_lr", "weight_decay", "betas",
                                                            "eps", "momentum",   "alpha",        "use_muon"};

std::string line(const char* label, const std::string& value) {
    std::string result(label);
    result.resize(13, ' ');
    return result + value + "\n";
}

std::string hyper_parameters(const HyperParameters& values) {
    std::vector<std::string> words;
    for (const char* key : shown_hyper_parameters) {
        const auto found =
            std::find_if(values.begin(), values.end(), [&](const auto& value) { return value.first == key; });
        if (found != values.end() && !found->second.is_null()) {
            words.push_back(std::string(key) + " " +
                            found->second.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        }
    }
    return joined(words, ", ");
}

std::string states_of(const GroupDescription& group) {
    std::vector<std::string> words{"master " + group.master_dtype};
    for (const StateDescription& state : group.states) {
        words.push_back(printable(state.key) + " " + state.dtype);
    }
    return joined(words, ", ");
}

/// Each distinct text once: groups mostly agree.
template <class Function>
std::string of_groups(const CheckpointDescription& checkpoint, const Function& text_of) {
    std::vector<std::string> texts;
    std::set<std::string> seen;
    for (const GroupDescription& group : checkpoint.groups) {
        std::string text = text_of(group);
        if (!text.empty() && seen.insert(text).second) {
            texts.push_back(std::move(text));
        }
    }
    return joined(texts, "; ");
}

std::string parameters_of(const CheckpointDescription& checkpoint) {
    std::string result = counted(checkpoint.parameters, "parameter") + ", " + counted(checkpoint.numel, "element");
    const ModuleDescription& module = checkpoint.module;
    if (module.frozen > 0) {
        result += "; frozen: " + grouped(module.frozen) + " (" + counted(module.frozen_numel, "element") + ")";
    }
    if (module.tied > 0) {
        result += "; tied names: " + grouped(module.tied);
    }
    if (module.buffers > 0) {
        result += "; buffers: " + grouped(module.buffers);
    }
    return result;
}

std::string group_name(const CheckpointDescription& checkpoint, const GroupDescription& group) {
    const std::string index = std::to_string(group.index);
    return checkpoint.model_parallel_degree > 1 ? "mp_rank_" + printable(group.model_rank) + " " + index : index;
}

std::string written_by(const CheckpointDescription& checkpoint) {
    if (checkpoint.world_size == checkpoint.dp_world_size) {
        return counted(checkpoint.world_size, "data-parallel rank");
    }
    const auto times = [](std::uint64_t degree, const char* what) {
        return degree > 1 ? " times " + grouped(degree) + what : std::string();
    };
    return counted(checkpoint.world_size, "rank") + " (" + grouped(checkpoint.dp_world_size) + " data-parallel" +
           times(checkpoint.model_parallel_degree, " model-parallel") +
           times(checkpoint.sequence_parallel_degree, " sequence-parallel") + ")";
}

// "4,096", at stage 3 with the number of sub-groups that it is cut into: "4,096 in 3".
std::string partition(const GroupCut& cut) {
    const std::string numel = grouped(cut.partition_numel);
    return cut.sub_groups.empty() ? numel : numel + " in " + grouped(cut.sub_groups.size());
}

std::string partition_title(const CheckpointDescription& checkpoint) {
    return checkpoint.stage == 3 ? "partition in sub-groups" : "partition";
}

std::string groups_table(const Description& description) {
    const CheckpointDescription& checkpoint = *description.checkpoint;
    std::vector<std::vector<std::string>> rows{
        {"group", "parameters", "elements", partition_title(checkpoint), "padding", "hyper-parameters"}};
    for (const GroupDescription& group : checkpoint.groups) {
        rows.push_back({group_name(checkpoint, group), grouped(group.parameters), grouped(group.numel),
                        partition(group.cut), per_rank(group.cut.padding_numel),
                        printable(hyper_parameters(group.hyper_parameters))});
    }
    return table(rows, {true, true, true, true, false, false}, "  ");
}

std::string checkpoint_text(const Description& description) {
    const CheckpointDescription& checkpoint = *description.checkpoint;
    std::string result;
    std::string tag = description.described_tag.empty() ? "the directory itself" : printable(description.described_tag);
    if (checkpoint.global_step) {
        tag += ", global step " + std::to_string(*checkpoint.global_step);
    }
    result += line("tag", tag);
    result += line("written by", written_by(checkpoint) + ", DeepSpeed " + printable(checkpoint.deepspeed_version) +
                                     ", stage " + std::to_string(checkpoint.stage) + " (" + checkpoint.format + ")");
    if (!checkpoint.groups.empty()) {
        const std::string weights = of_groups(checkpoint, [](const auto& group) { return group.weights_dtype; });
        result += line("model", (weights.empty() ? "" : weights + ", ") + parameters_of(checkpoint));
        result += line("optimizer", of_groups(checkpoint, states_of));
    }
    result += line("on disk", counted(checkpoint.files, "file") + ", " + human_nbytes(checkpoint.nbytes) +
                                  " (pickle protocol " + std::to_string(checkpoint.pickle_protocol) + ")");
    if (!checkpoint.groups.empty()) {
        result += "\n" + groups_table(description);
    }
    return result;
}

std::string tags_text(const Description& description) {
    std::vector<std::vector<std::string>> rows;
    for (const TagDescription& tag : description.tags) {
        if (rows.size() == max_listed_tags) {
            rows.push_back({"... and " + std::to_string(description.tags.size() - max_listed_tags) + " more"});
            break;
        }
        rows.push_back({tag.name.empty() ? "." : printable(tag.name), tag.latest ? "latest" : "",
                        tag.problem ? "broken" : "whole, " + counted(tag.world_size, "rank"),
                        tag.global_step ? "step " + std::to_string(*tag.global_step) : "",
                        tag.newest ? "newest whole" : ""});
    }
    return "\ntags\n" + table(rows, {}, "  ");
}

std::string made_of(const CutFile& file) {
    if (file.original) {
        return "the source's file as it is";
    }
    std::vector<std::string> parts;
    for (const CutPart& part : file.parts) {
        const std::string name = part.rank ? "rank " + std::to_string(*part.rank) : printable(part.file);
        parts.push_back(name + " (" + human_nbytes(part.nbytes) + ")");
    }
    return joined(parts, ", ");
}

std::string files_text(const std::vector<CutFile>& files, std::uint64_t file_count) {
    std::vector<std::vector<std::string>> rows{{"file", "size", "data from"}};
    for (const CutFile& file : files) {
        rows.push_back({printable(file.name), human_nbytes(file.nbytes), made_of(file)});
    }
    std::string result = table(rows, {false, true, false}, "  ");
    if (file_count > files.size()) {
        result += "  ... and " + counted(file_count - files.size(), "file") + " more\n";
    }
    return result;
}

/// The views that each tag can be shown as; a reason that is the tag's own stands under the problems.
std::string views_text(const Description& description) {
    std::vector<std::vector<std::string>> rows;
    for (const TagDescription& tag : description.tags) {
        const std::string name = tag.name.empty() ? "." : printable(tag.name);
        std::vector<std::string> shown;
        for (const ViewAnswer& answer : tag.views) {
            if (!answer.problem) {
                shown.push_back(answer.view);
            }
        }
        rows.push_back({name, shown.empty() ? "none" : joined(shown, ", ")});
        for (const ViewAnswer& answer : tag.views) {
            if (answer.problem && answer.problem != tag.problem) {
                rows.push_back({"", "not " + answer.view + ": " + printable(*answer.problem)});
            }
        }
        if (&tag - description.tags.data() + 1 == static_cast<std::ptrdiff_t>(max_listed_tags)) {
            break;
        }
    }
    return "\nviews\n" + table(rows, {}, "  ");
}

std::string cuts_text(const Description& description, const Picture* picture, std::size_t columns) {
    const Cuts& cuts = *description.cuts;
    const CheckpointDescription& checkpoint = *description.checkpoint;
    std::ostringstream result;
    result << "\nre-cut from " << counted(checkpoint.world_size, "rank") << " to " << grouped(cuts.world_size) << "\n";
    if (picture != nullptr && !picture->groups.empty()) {
        result << as_text(*picture, columns) << "\n";
    }
    result << files_text(cuts.files, cuts.file_count);
    return result.str();
}

std::string problems_text(const Description& description) {
    std::string result = "\nproblems\n";
    for (const std::string& problem : description.problems) {
        result += "  " + printable(problem) + "\n";
    }
    if (description.problems.empty()) {
        result += "  none found (`ckptfs verify` reads the data as well)\n";
    }
    return result;
}

std::string tag_warnings_text(const Description& description) {
    std::string result;
    for (const TagDescription& tag : description.tags) {
        for (const std::string& warning : tag.warnings) {
            result += (result.empty() ? "\nwarnings\n  " : "  ") + printable(warning) + "\n";
        }
    }
    return result;
}

std::string warnings_text(const Description& description) {
    std::string result = description.warnings.empty() ? "" : "\nat another world size\n";
    for (const std::string& warning : description.warnings) {
        result += "  " + printable(warning) + "\n";
    }
    return result;
}

}  // namespace

std::string as_text(const Description& description, const Picture* picture, std::size_t columns) {
    std::string result = line("source", printable(description.source));
    if (description.checkpoint) {
        result += checkpoint_text(description);
    }
    result += tags_text(description);
    result += views_text(description);
    if (description.cuts) {
        result += cuts_text(description, picture, columns);
    }
    if (description.shown) {
        const ShownView& shown = *description.shown;
        result += "\nshown as " + shown.name + "\n" + files_text(shown.files, shown.file_count);
    }
    return result + problems_text(description) + tag_warnings_text(description) + warnings_text(description);
}

}  // namespace ckptfs::report
