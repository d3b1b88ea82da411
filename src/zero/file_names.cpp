// Parses and builds the names; rank numbers are compared as numbers, never as text.
#include "zero/file_names.h"

#include <algorithm>
#include <charconv>

namespace ckptfs::zero {
namespace {

bool take(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) {
        return false;
    }
    text.remove_prefix(prefix.size());
    return true;
}

std::optional<std::string_view> take_digits(std::string_view& text) {
    const auto* const end = std::find_if(text.begin(), text.end(), [](char c) { return c < '0' || c > '9'; });
    const std::string_view digits = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    if (digits.empty()) {
        return std::nullopt;
    }
    text.remove_prefix(digits.size());
    return digits;
}

std::optional<std::uint64_t> take_number(std::string_view& text) {
    const auto digits = take_digits(text);
    if (!digits) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits->data(), digits->data() + digits->size(), value);
    return error == std::errc() && end == digits->data() + digits->size() ? std::optional(value) : std::nullopt;
}

bool is_expert(std::string_view name) {
    std::string_view rest = name;
    if (take(rest, "expp_rank_")) {
        return rest.ends_with("optim_states.pt");
    }
    return take(rest, "layer_") && take_digits(rest) && take(rest, "_expert_") && rest.ends_with("_model_states.pt");
}

// module.py ckpt_layer_path: between the layer and the ending stand the other axes of the topology, "-model_00".
std::optional<ShardName> parse_layer_name(std::string_view name) {
    ShardName parsed;
    parsed.role = FileRole::layer;
    const auto layer = take(name, "layer_") ? take_number(name) : std::nullopt;
    constexpr std::string_view ending = "-model_states.pt";
    if (!layer || !name.ends_with(ending)) {
        return std::nullopt;
    }
    parsed.layer = *layer;
    name.remove_suffix(ending.size());
    if (name.empty()) {
        return parsed;
    }
    const auto slice = take(name, "-model_") ? take_number(name) : std::nullopt;
    if (!slice || !name.empty()) {
        return std::nullopt;
    }
    parsed.slice = *slice;
    return parsed;
}

}  // namespace

std::optional<ShardName> parse_shard_name(std::string_view name) {
    ShardName parsed;
    if (is_expert(name)) {
        parsed.role = FileRole::expert;
        return parsed;
    }
    if (auto layer = parse_layer_name(name)) {
        return layer;
    }
    std::string_view rest = name;
    if (take(rest, "bf16_")) {
        parsed.prefix = "bf16_";
    }
    const bool sharded = take(rest, "zero_pp_rank_");
    if (sharded) {
        const auto rank = take_number(rest);
        if (!rank || !take(rest, "_")) {
            return std::nullopt;
        }
        parsed.data_rank = *rank;
    }
    if (!take(rest, "mp_rank_")) {
        return std::nullopt;
    }
    const auto model_rank = take_digits(rest);
    if (!model_rank) {
        return std::nullopt;
    }
    parsed.model_rank = *model_rank;
    parsed.suffix = rest;
    if (rest == "_model_states.pt" && parsed.prefix.empty()) {
        parsed.role = sharded ? FileRole::model_states_shard : FileRole::model_states;
        return parsed;
    }
    if (sharded && (rest == "_optim_states.pt" || rest == "optim_states.pt")) {
        parsed.role = FileRole::optimizer_shard;
        return parsed;
    }
    return std::nullopt;
}

std::string optimizer_file_name(std::string_view prefix, std::uint64_t data_rank, std::string_view model_rank,
                                std::string_view suffix) {
    std::string name(prefix);
    name += "zero_pp_rank_" + std::to_string(data_rank) + "_mp_rank_";
    name += model_rank;
    name += suffix;
    return name;
}

std::string model_states_shard_name(std::uint64_t data_rank, std::string_view model_rank) {
    return optimizer_file_name("", data_rank, model_rank, "_model_states.pt");
}

}  // namespace ckptfs::zero
