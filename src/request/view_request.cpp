// Names of requests, both ways.
#include "ckptfs/view_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace ckptfs {
namespace {

constexpr std::string_view world_size_prefix = "world-size-";
constexpr std::string_view dp_size_prefix = "dp-size-";
constexpr std::string_view weights_name = "weights";
constexpr std::string_view bin_suffix = "-bin";

constexpr std::array<std::pair<WeightsDType, std::string_view>, 4> dtype_suffixes{{
    {WeightsDType::source, ""},
    {WeightsDType::fp32, "-fp32"},
    {WeightsDType::bf16, "-bf16"},
    {WeightsDType::fp16, "-fp16"},
}};

constexpr std::array<std::pair<ViewKind, std::string_view>, 3> plain_names{{
    {ViewKind::states, "states"},
    {ViewKind::lightning, "lightning"},
    {ViewKind::universal, "universal"},
}};

template <class Table, class Key>
std::string_view name_in(const Table& table, Key key) {
    return std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.first == key; })->second;
}

std::optional<ViewRequest> parse_size(std::string_view name, std::string_view prefix, bool counts_data_parallel) {
    std::uint64_t size = 0;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, size);
    const auto request = ViewRequest::at_world_size(size, counts_data_parallel);
    // A number has one name only: in canonical decimals.
    const bool is_canonical = parsed.ec == std::errc{} && size >= 1 && size <= max_world_size && request.name() == name;
    return is_canonical ? std::optional(request) : std::nullopt;
}

std::optional<ViewRequest> parse_weights(std::string_view name) {
    ViewRequest request;
    request.kind = ViewKind::weights;
    for (const auto& dtype : dtype_suffixes) {
        for (const auto container : {WeightsContainer::safetensors, WeightsContainer::bin}) {
            request.dtype = dtype.first;
            request.container = container;
            if (request.name() == name) {
                return request;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

std::string ViewRequest::name() const {
    switch (kind) {
        case ViewKind::world_size:
            return std::string(counts_data_parallel ? dp_size_prefix : world_size_prefix) + std::to_string(world_size);
        case ViewKind::weights:
            return std::string(weights_name)
                .append(name_in(dtype_suffixes, dtype))
                .append(container == WeightsContainer::bin ? bin_suffix : "");
        case ViewKind::states:
        case ViewKind::lightning:
        case ViewKind::universal:
            return std::string(name_in(plain_names, kind));
    }
    return {};
}

std::optional<ViewRequest> ViewRequest::parse(std::string_view name) {
    if (name.starts_with(world_size_prefix)) {
        return parse_size(name, world_size_prefix, false);
    }
    if (name.starts_with(dp_size_prefix)) {
        return parse_size(name, dp_size_prefix, true);
    }
    for (const auto& [kind, plain] : plain_names) {
        if (name == plain) {
            ViewRequest request;
            request.kind = kind;
            return request;
        }
    }
    return parse_weights(name);
}

}  // namespace ckptfs
