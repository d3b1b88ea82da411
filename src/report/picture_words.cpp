// Headings, facts and colours.
#include "report/picture_words.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "util/plain_text.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

constexpr std::array<const char*, 2> named_hyper_parameters{"lr", "weight_decay"};

std::string number_text(const nlohmann::ordered_json& value) {
    if (!value.is_number_float()) {
        return value.is_number() ? value.dump() : std::string();
    }
    return human_number(value.get<double>());
}

long channel(std::string_view colour, std::size_t at) {
    return std::strtol(std::string(colour.substr(at, 2)).c_str(), nullptr, 16);
}

std::string optimizer_of(const CheckpointDescription& checkpoint) {
    std::vector<std::string> words;
    for (const GroupDescription& group : checkpoint.groups) {
        std::vector<std::string> states{"master " + group.master_dtype};
        for (const StateDescription& state : group.states) {
            states.push_back(plain_text(state.key) + " " + state.dtype);
        }
        const std::string text = joined(states, ", ");
        if (!group.master_dtype.empty() && std::find(words.begin(), words.end(), text) == words.end()) {
            words.push_back(text);
        }
    }
    return joined(words, "; ");
}

}  // namespace

std::string rank_colour(std::uint64_t rank, std::uint64_t ranks) {
    if (ranks <= rank_colours.size()) {
        return std::string(rank_colours.at(rank * rank_colours.size() / std::max<std::uint64_t>(ranks, 1)));
    }
    const double place =
        static_cast<double>(rank) / static_cast<double>(ranks - 1) * static_cast<double>(rank_colours.size() - 1);
    const std::size_t low = std::min(rank_colours.size() - 2, static_cast<std::size_t>(place));
    std::string result = "#";
    for (const std::size_t at : {std::size_t{1}, std::size_t{3}, std::size_t{5}}) {
        const auto a = static_cast<double>(channel(rank_colours.at(low), at));
        const auto b = static_cast<double>(channel(rank_colours.at(low + 1), at));
        std::array<char, 8> buffer{};
        (void)std::snprintf(buffer.data(), buffer.size(), "%02lx",
                            std::lround(a + (b - a) * (place - static_cast<double>(low))) & 0xffL);
        result += buffer.data();
    }
    return result;
}

std::string heading(const Description& description, const Picture& picture) {
    const std::string tag = description.described_tag.empty() ? description.source : description.described_tag;
    return plain_text(tag) + ", saved by " + counted(picture.world_size_before, "rank") + ", as " +
           counted(picture.world_size_after, "rank reads it", "ranks read it");
}

std::string title(const DrawnGroup& group, const Picture& picture) {
    const std::string number = "Group " + std::to_string(group.index);
    const bool is_one_rank = std::all_of(picture.groups.begin(), picture.groups.end(),
                                         [&](const auto& other) { return other.model_rank == group.model_rank; });
    return is_one_rank ? number : number + " of mp_rank_" + plain_text(group.model_rank);
}

std::string about(const DrawnGroup& group, const GroupDescription& description) {
    std::vector<std::string> words;
    for (const char* key : named_hyper_parameters) {
        for (const auto& [name, value] : description.hyper_parameters) {
            const std::string text = name == key ? number_text(value) : "";
            if (!text.empty()) {
                words.push_back(joined({name, text}, " "));
            }
        }
    }
    return counted(group.parameters.size(), "parameter") + ", " + counted(group.numel, "element") +
           (words.empty() ? "" : "; " + joined(words, ", "));
}

std::vector<std::pair<std::string, std::string>> facts(const CheckpointDescription& checkpoint) {
    std::vector<std::pair<std::string, std::string>> result{
        {"ZeRO stage", std::to_string(checkpoint.stage) + " (" + checkpoint.format + ")"}};
    if (checkpoint.global_step) {
        result.emplace_back("Global step", std::to_string(*checkpoint.global_step));
    }
    if (checkpoint.world_size != checkpoint.dp_world_size) {
        result.emplace_back("Ranks", grouped(checkpoint.world_size) + ": " + grouped(checkpoint.dp_world_size) +
                                         " data-parallel × " + grouped(checkpoint.model_parallel_degree) +
                                         " model-parallel × " + grouped(checkpoint.sequence_parallel_degree) +
                                         " sequence-parallel");
    }
    if (!checkpoint.groups.empty()) {
        result.emplace_back("Trained", counted(checkpoint.parameters, "parameter") + ", " +
                                           counted(checkpoint.numel, "element") + ", " +
                                           checkpoint.groups.front().weights_dtype);
        result.emplace_back("Optimizer", optimizer_of(checkpoint));
    }
    if (checkpoint.module.frozen + checkpoint.module.buffers > 0) {
        result.emplace_back("Not cut", counted(checkpoint.module.frozen, "frozen parameter") + ", " +
                                           counted(checkpoint.module.buffers, "buffer"));
    }
    result.emplace_back("On disk", counted(checkpoint.files, "file") + ", " + human_nbytes(checkpoint.nbytes));
    result.emplace_back("Written by", "DeepSpeed " + plain_text(checkpoint.deepspeed_version));
    return result;
}

}  // namespace ckptfs::report
