// A description for people: one screen.
#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "report/description.h"
#include "report/picture_text.h"
#include "util/layout.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

constexpr std::size_t max_listed_tags = 12;
// Of hyper-parameters, those that one looks for first; --json has all.
constexpr std::array<const char*, 8> shown_hyper_parameters{"lr",  "initial_lr", "weight_decay", "betas",
                                                            "eps", "momentum",   "alpha",        "use_muon"};

constexpr std::size_t label_width = 13;
constexpr std::size_t max_listed_parts = 6;  // files that one file's data come from

std::string value_text(const nlohmann::ordered_json& value) {
    if (value.is_number_float()) {
        return human_number(value.get<double>());
    }
    if (value.is_array()) {
        std::vector<std::string> parts;
        std::transform(value.begin(), value.end(), std::back_inserter(parts), value_text);
        return "[" + joined(parts, ", ") + "]";
    }
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const nlohmann::ordered_json* find(const HyperParameters& values, std::string_view key) {
    const auto found =
        std::find_if(values.begin(), values.end(), [&](const auto& value) { return value.first == key; });
    return found == values.end() || found->second.is_null() ? nullptr : &found->second;
}

/// Whether all groups have the same.
bool is_common(const CheckpointDescription& checkpoint, std::string_view key) {
    const auto* first = find(checkpoint.groups.front().hyper_parameters, key);
    return std::all_of(checkpoint.groups.begin(), checkpoint.groups.end(), [&](const GroupDescription& group) {
        const auto* value = find(group.hyper_parameters, key);
        return value != nullptr && first != nullptr && *value == *first;
    });
}

/// Those of a group that all groups have alike, or the others.
std::string hyper_parameters(const CheckpointDescription& checkpoint, const GroupDescription& group, bool common) {
    std::vector<std::string> words;
    for (const char* key : shown_hyper_parameters) {
        const auto* value = find(group.hyper_parameters, key);
        if (value != nullptr && is_common(checkpoint, key) == common) {
            words.push_back(unbroken(std::string(key) + " " + printable(value_text(*value))));
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

std::string made_of(const CutFile& file) {
    if (file.original) {
        return "the source's file as it is";
    }
    std::vector<std::string> parts;
    for (const CutPart& part : file.parts) {
        if (parts.size() == max_listed_parts && file.parts.size() > max_listed_parts + 1) {
            parts.push_back(unbroken(grouped(file.parts.size() - max_listed_parts) + " more"));
            break;
        }
        const std::string name = part.rank ? "rank " + std::to_string(*part.rank) : printable(part.file);
        parts.push_back(unbroken(name + " (" + human_nbytes(part.nbytes) + ")"));
    }
    return joined(parts, ", ");
}

std::string name_of(const TagDescription& tag) {
    return tag.name.empty() ? "." : unbroken(printable(tag.name));
}

/// Lines that are no longer than the terminal is wide.
class Text {
 public:
    Text(const Description& description, const Picture* picture, std::size_t columns)
        : description_(description), picture_(picture), columns_(columns) {}

    std::string all() {
        line("source", unbroken(printable(description_.source)));
        if (description_.checkpoint) {
            add_checkpoint();
        }
        add_tags();
        add_views();
        if (description_.cuts) {
            add_cuts();
        }
        if (description_.shown) {
            text_ += "\nshown as " + description_.shown->name + "\n";
            add_files(description_.shown->files, description_.shown->file_count);
        }
        sentences("problems", description_.problems);
        if (description_.problems.empty()) {
            text_ += "\nproblems\n  none found (`ckptfs verify` reads the data as well)\n";
        }
        std::vector<std::string> warnings;
        for (const TagDescription& tag : description_.tags) {
            warnings.insert(warnings.end(), tag.warnings.begin(), tag.warnings.end());
        }
        sentences("warnings", warnings);
        sentences("at another world size", description_.warnings);
        return std::move(text_);
    }

 private:
    void line(std::string label, const std::string& value) {
        label.resize(label_width, ' ');
        text_ += wrapped(value, columns_, label, label_width);
    }

    /// Each once.
    void sentences(const char* heading, const std::vector<std::string>& all) {
        std::set<std::string_view> said;
        for (const std::string& sentence : all) {
            if (said.insert(sentence).second) {
                text_ += said.size() == 1 ? "\n" + std::string(heading) + "\n" : "";
                text_ += wrapped(printable(sentence), columns_, "  ", hanging);
            }
        }
    }

    void add_checkpoint() {
        const CheckpointDescription& checkpoint = *description_.checkpoint;
        const std::string& name = description_.described_tag;
        line("tag", (name.empty() ? "the directory itself" : unbroken(printable(name))) +
                        (checkpoint.global_step ? ", global step " + std::to_string(*checkpoint.global_step) : ""));
        line("written by", written_by(checkpoint) + ", DeepSpeed " + printable(checkpoint.deepspeed_version) +
                               ", stage " + std::to_string(checkpoint.stage) + " (" + checkpoint.format + ")");
        if (!checkpoint.groups.empty()) {
            const std::string weights = of_groups(checkpoint, [](const auto& group) { return group.weights_dtype; });
            line("model", (weights.empty() ? "" : weights + ", ") + parameters_of(checkpoint));
            line("optimizer", of_groups(checkpoint, states_of));
            const std::string common = hyper_parameters(checkpoint, checkpoint.groups.front(), true);
            if (!common.empty()) {
                line("", common);
            }
        }
        line("on disk", counted(checkpoint.files, "file") + ", " + human_nbytes(checkpoint.nbytes) +
                            " (pickle protocol " + std::to_string(checkpoint.pickle_protocol) + ")");
        if (!checkpoint.groups.empty()) {
            add_groups(checkpoint);
        }
    }

    void add_groups(const CheckpointDescription& checkpoint) {
        std::vector<std::vector<std::string>> rows{
            {"group", "parameters", "elements", partition_title(checkpoint), "padding"}};
        bool differ = false;
        for (const GroupDescription& group : checkpoint.groups) {
            const std::string padding = unbroken(per_rank(group.cut.padding_numel));
            const std::string own = hyper_parameters(checkpoint, group, false);
            differ = differ || !own.empty();
            rows.push_back({group_name(checkpoint, group), grouped(group.parameters), grouped(group.numel),
                            partition(group.cut), padding, own});
        }
        if (differ) {
            rows.front().emplace_back("hyper-parameters");
        } else {
            std::for_each(rows.begin() + 1, rows.end(), [](auto& row) { row.pop_back(); });
        }
        text_ += "\n" + fitted_table(rows, {true, true, true, true, false, false}, "  ", columns_);
    }

    void add_tags() {
        std::vector<std::vector<std::string>> rows;
        for (const TagDescription& tag : description_.tags) {
            if (rows.size() == max_listed_tags) {
                break;
            }
            rows.push_back({name_of(tag), tag.latest ? "latest" : "",
                            tag.problem ? "broken" : "whole, " + counted(tag.world_size, "rank"),
                            tag.global_step ? "step " + std::to_string(*tag.global_step) : "",
                            tag.newest ? unbroken("newest whole") : ""});
        }
        text_ += "\ntags\n" + fitted_table(rows, {}, "  ", columns_);
        if (description_.tags.size() > max_listed_tags) {
            text_ += "  ... and " + std::to_string(description_.tags.size() - max_listed_tags) + " more\n";
        }
    }

    /// The views that each tag can be shown as; a reason that is the tag's own stands under the problems, and each
    /// once.
    void add_views() {
        std::vector<std::vector<std::string>> rows;
        std::vector<std::pair<std::string, std::string>> reasons;  // and what they keep from being shown
        for (const TagDescription& tag : description_.tags) {
            if (&tag - description_.tags.data() == static_cast<std::ptrdiff_t>(max_listed_tags)) {
                break;
            }
            std::vector<std::string> shown;
            for (const ViewAnswer& answer : tag.views) {
                if (!answer.problem) {
                    shown.push_back(world_sizes(tag, answer));
                } else if (answer.has_place && answer.problem != tag.problem) {
                    add_reason(*answer.problem, name_of(tag), answer.view, reasons);
                }
            }
            for (const ViewAnswer& answer : tag.elsewhere) {
                if (answer.problem) {
                    add_reason(*answer.problem, name_of(tag), answer.view, reasons);
                }
            }
            rows.push_back({name_of(tag), shown.empty() ? "none" : joined(shown, ", ")});
        }
        text_ += "\nviews\n" + fitted_table(rows, {}, "  ", columns_);
        for (const auto& [reason, what] : reasons) {
            text_ += wrapped("not " + what + ": " + printable(reason), columns_, "  ", hanging);
        }
    }

    /// The view of one world size stands for all, or it would look like the only one.
    static std::string world_sizes(const TagDescription& tag, const ViewAnswer& answer) {
        const bool is_any =
            !tag.elsewhere.empty() && std::none_of(tag.elsewhere.begin(), tag.elsewhere.end(),
                                                   [](const ViewAnswer& other) { return other.problem.has_value(); });
        if (!is_any || answer.view != ViewRequest::at_world_size(tag.world_size).name()) {
            return answer.view;
        }
        return "world-size-N (any " + (tag.degree == 1 ? "N" : "multiple of " + grouped(tag.degree)) + "; saved at " +
               grouped(tag.world_size) + ")";
    }

    void add_reason(const std::string& reason, const std::string& tag, const std::string& view,
                    std::vector<std::pair<std::string, std::string>>& reasons) const {
        const std::string what = description_.tags.size() == 1 ? view : tag + " as " + view;
        const auto known =
            std::find_if(reasons.begin(), reasons.end(), [&](const auto& entry) { return entry.first == reason; });
        if (known == reasons.end()) {
            reasons.emplace_back(reason, what);
        } else {
            known->second += ", " + view;
        }
    }

    void add_cuts() {
        const Cuts& cuts = *description_.cuts;
        text_ += "\nre-cut from " + counted(description_.checkpoint->world_size, "rank") + " to " +
                 grouped(cuts.world_size) + "\n";
        if (picture_ != nullptr && !picture_->groups.empty()) {
            text_ += as_text(*picture_, columns_) + "\n";
        }
        add_files(cuts.files, cuts.file_count);
    }

    void add_files(const std::vector<CutFile>& files, std::uint64_t file_count) {
        std::vector<std::vector<std::string>> rows{{"file", "size", unbroken("data from")}};
        for (const CutFile& file : files) {
            rows.push_back({unbroken(printable(file.name)), human_nbytes(file.nbytes), made_of(file)});
        }
        text_ += fitted_table(rows, {false, true, false}, "  ", columns_);
        if (file_count > files.size()) {
            text_ += "  ... and " + counted(file_count - files.size(), "file") + " more\n";
        }
    }

    static constexpr std::size_t hanging = 4;

    const Description& description_;
    const Picture* picture_;
    std::size_t columns_;
    std::string text_;
};

}  // namespace

std::string as_text(const Description& description, const Picture* picture, std::size_t columns) {
    return Text(description, picture, columns).all();
}

}  // namespace ckptfs::report
