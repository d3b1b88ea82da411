// The page's parts put together, and the numbers that its script draws.
#include "report/page.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <unordered_map>

#include "ckptfs/version.h"
#include "report/page_files.h"
#include "report/picture_words.h"
#include "util/plain_text.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

using Json = nlohmann::ordered_json;

/// Equal neighbours joined: [[value, count], ...].
template <class Range, class Of>
Json runs(const Range& range, const Of& of) {
    Json result = Json::array();
    for (const auto& item : range) {
        Json value = of(item);
        if (!result.empty() && result.back()[0] == value) {
            result.back()[1] = result.back()[1].template get<std::uint64_t>() + 1;
        } else {
            result.push_back(Json::array({std::move(value), 1}));
        }
    }
    return result;
}

Json optional_json(const std::optional<std::uint64_t>& value) {
    return value ? Json(*value) : Json();
}

/// nullptr where it is `usual` for all parameters.
Json column(const Partitions& side, std::uint64_t Dealt::*member, std::uint64_t usual) {
    if (std::all_of(side.dealt.begin(), side.dealt.end(), [&](const Dealt& of) { return of.*member == usual; })) {
        return {};
    }
    Json result = Json::array();
    for (const Dealt& of : side.dealt) {
        result.push_back(of.*member);
    }
    return result;
}

Json side_json(const Partitions& side) {
    Json states = Json::array();
    for (const StatePlaces& state : side.states) {
        Json offsets = Json::array();
        for (const auto& of_sub_group : state.offsets) {
            offsets.push_back(runs(of_sub_group, optional_json));
        }
        states.push_back({{"key", plain_text(state.key)},
                          {"dtype", state.dtype},
                          {"itemsize", state.itemsize},
                          {"offsets", std::move(offsets)}});
    }
    return {{"ranks", side.ranks},
            {"partition", side.partition_numel},
            {"flat", side.is_flat},
            {"first", column(side, &Dealt::first_numel, 0)},
            {"share", column(side, &Dealt::share_numel, std::max<std::uint64_t>(side.partition_numel, 1))},
            {"start", column(side, &Dealt::start_numel, 0)},
            {"sub_groups", side.sub_groups},
            {"states", std::move(states)}};
}

/// `named`: how many parameters may still be named.
Json group_json(const DrawnGroup& group, const GroupDescription& description, const Picture& picture,
                std::size_t& named) {
    Json names = Json::array();
    Json shapes = Json::array();
    for (const DrawnParameter& parameter : group.parameters) {
        if (named == 0) {
            break;
        }
        --named;
        names.push_back(plain_text(parameter.name));
        shapes.push_back(parameter.shape);
    }
    return {{"title", title(group, picture)},
            {"about", about(group, description)},
            {"model_rank", plain_text(group.model_rank)},
            {"numel", group.numel},
            {"names", std::move(names)},
            {"shapes", std::move(shapes)},
            {"numels", runs(group.parameters, [](const DrawnParameter& of) { return Json(of.numel); })},
            {"before", side_json(group.before)},
            {"after", side_json(group.after)}};
}

/// A name around its first number that stands alone: <prefix>12<suffix>.
struct NumberedName {
    std::string prefix;
    std::optional<std::uint64_t> number;
    std::string suffix;
};

NumberedName numbered(const std::string& name) {
    constexpr const char* digits = "0123456789";
    for (std::size_t begin = name.find('_'); begin != std::string::npos; begin = name.find('_', begin + 1)) {
        const std::size_t end = std::min(name.find_first_not_of(digits, begin + 1), name.size());
        std::uint64_t number = 0;
        const auto parsed = std::from_chars(name.data() + begin + 1, name.data() + end, number);
        // "00" is no number that counting gives.
        if (end > begin + 1 && parsed.ec == std::errc() && std::to_string(number).size() == end - begin - 1) {
            return {name.substr(0, begin + 1), number, name.substr(end)};
        }
    }
    return {name, std::nullopt, ""};
}

/// Whether a file is the next one of a block of `count` files, of which `first` is the first.
bool continues(const DrawnFile& first, const NumberedName& first_name, std::uint64_t count, const DrawnFile& file,
               const NumberedName& name) {
    const bool names_go_on = first_name.number && name.number == *first_name.number + count &&
                             name.prefix == first_name.prefix && name.suffix == first_name.suffix;
    const bool ranks_go_on =
        first.optimizer_rank ? file.optimizer_rank == *first.optimizer_rank + count : !file.optimizer_rank.has_value();
    return names_go_on && ranks_go_on && file.model_rank == first.model_rank;
}

Json parts_json(const CutFile& file, const std::unordered_map<std::string, std::size_t>& sources) {
    if (file.original) {
        return {};
    }
    Json result = Json::array();
    for (const CutPart& part : file.parts) {
        const auto source = sources.find(part.file);
        if (source != sources.end()) {
            result.push_back(Json::array({source->second, part.nbytes}));
        }
    }
    return result;
}

/// Files whose names count up are one block.
Json files_json(const std::vector<DrawnFile>& files, const std::unordered_map<std::string, std::size_t>& sources) {
    Json blocks = Json::array();
    for (std::size_t begin = 0; begin < files.size();) {
        const NumberedName name = numbered(files[begin].file.name);
        std::size_t end = begin + 1;
        while (end < files.size() &&
               continues(files[begin], name, end - begin, files[end], numbered(files[end].file.name))) {
            ++end;
        }
        const std::span<const DrawnFile> block(files.data() + begin, end - begin);
        Json parts;  // null where all are the source's own
        if (std::any_of(block.begin(), block.end(), [](const DrawnFile& file) { return !file.file.original; })) {
            parts = Json::array();
            for (const DrawnFile& file : block) {
                parts.push_back(parts_json(file.file, sources));
            }
        }
        blocks.push_back({{"prefix", plain_text(name.prefix)},
                          {"number", optional_json(name.number)},
                          {"suffix", plain_text(name.suffix)},
                          {"model_rank", plain_text(files[begin].model_rank)},
                          {"rank", optional_json(files[begin].optimizer_rank)},
                          {"nbytes", runs(block, [](const DrawnFile& file) { return Json(file.file.nbytes); })},
                          {"parts", std::move(parts)}});
        begin = end;
    }
    return blocks;
}

std::string lead(const Picture& picture) {
    if (picture.groups.empty()) {
        return "Nothing in this checkpoint depends on the world size: it has no optimizer state that is cut over "
               "ranks.";
    }
    return "Each parameter group's optimizer state: above as the ranks that saved it have it, below as " +
           counted(picture.world_size_after, "rank reads", "ranks read") +
           " it through ckptfs. The colour of a place is the rank whose file its bytes come from, also below; nothing "
           "is copied.";
}

Json notes(const Picture& picture) {
    std::size_t parameters = 0;
    for (const DrawnGroup& group : picture.groups) {
        parameters += group.parameters.size();
    }
    Json result = Json::array();
    if (parameters > max_named_parameters) {
        result.push_back("Of " + counted(parameters, "parameter") + " the first " + grouped(max_named_parameters) +
                         " are named here; all are drawn.");
    }
    if (picture.unlisted_files_after > 0) {
        result.push_back("The bytes of " + counted(picture.unlisted_files_after, "file") +
                         " that are not listed are not named either; ranks and elements are.");
    }
    result.push_back(
        "Ranks are data-parallel ones, as in the names of the files. Sizes are those of whole files, which hold the "
        "pickled objects around the tensors too.");
    result.push_back("Made by ckptfs " + std::string(version) + " inspect --html from metadata alone.");
    return result;
}

/// `text` with each {{name}} replaced by what `values` has for it; what is put in is not looked into.
std::string filled(std::string_view text, const std::vector<std::pair<std::string_view, std::string>>& values) {
    std::string result;
    while (true) {
        const std::size_t begin = text.find("{{");
        const std::size_t end = begin == std::string_view::npos ? begin : text.find("}}", begin);
        if (end == std::string_view::npos) {
            return result += text;
        }
        result += text.substr(0, begin);
        const std::string_view name = text.substr(begin + 2, end - begin - 2);
        const auto value = std::find_if(values.begin(), values.end(), [&](const auto& of) { return of.first == name; });
        result += value == values.end() ? std::string() : value->second;
        text.remove_prefix(end + 2);
    }
}

}  // namespace

std::string page_data(const Description& description, const Picture& picture) {
    const CheckpointDescription& checkpoint = *description.checkpoint;
    Json groups = Json::array();
    std::size_t named = max_named_parameters;
    for (std::size_t index = 0; index < picture.groups.size(); ++index) {
        groups.push_back(group_json(picture.groups[index], checkpoint.groups[index], picture, named));
    }
    std::unordered_map<std::string, std::size_t> sources;
    for (std::size_t index = 0; index < picture.files_before.size(); ++index) {
        sources.emplace(picture.files_before[index].file.name, index);
    }
    const Json result{
        {"heading", heading(description, picture)},
        {"source", plain_text(description.source)},
        {"lead", lead(picture)},
        {"facts", facts(checkpoint)},
        {"colours", rank_colours},
        {"groups", std::move(groups)},
        {"files",
         {{"before", files_json(picture.files_before, sources)}, {"after", files_json(picture.files_after, sources)}}},
        {"unlisted_files_after", picture.unlisted_files_after},
        {"notes", notes(picture)}};
    return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string as_page(const Description& description, const Picture& picture) {
    std::string script;
    for (const std::string_view part : {model_js, draw_js, page_js}) {
        script += part;
    }
    return filled(page_html, {{"title", markup(heading(description, picture))},
                              {"style", std::string(page_css)},
                              {"data", json_in_markup(page_data(description, picture))},
                              {"script", script}});
}

}  // namespace ckptfs::report
