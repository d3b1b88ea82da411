// Tensors stand by descending dtype, then by name, so that each is aligned for its type (safetensors/src/tensor.rs,
// `prepare`).
#include "safetensors/layout.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "util/checked.h"

namespace ckptfs::safetensors {
namespace {

using model::DType;

/// `Dtype` of safetensors/src/tensor.rs from its greatest value down.
constexpr std::array<std::pair<DType, std::string_view>, 20> format_names{{
    {DType::uint64, "U64"},
    {DType::int64, "I64"},
    {DType::float64, "F64"},
    {DType::complex_float, "C64"},
    {DType::float32, "F32"},
    {DType::uint32, "U32"},
    {DType::int32, "I32"},
    {DType::bfloat16, "BF16"},
    {DType::float16, "F16"},
    {DType::uint16, "U16"},
    {DType::int16, "I16"},
    {DType::float8_e5m2fnuz, "F8_E5M2FNUZ"},
    {DType::float8_e4m3fnuz, "F8_E4M3FNUZ"},
    {DType::float8_e8m0fnu, "F8_E8M0"},
    {DType::float8_e4m3fn, "F8_E4M3"},
    {DType::float8_e5m2, "F8_E5M2"},
    {DType::int8, "I8"},
    {DType::uint8, "U8"},
    {DType::float4_e2m1fn_x2, "F4"},
    {DType::boolean, "BOOL"},
}};

/// `MAX_HEADER_SIZE` of safetensors/src/tensor.rs: its readers refuse more.
constexpr std::size_t max_header_nbytes = 100'000'000;
constexpr std::size_t length_nbytes = 8;

std::size_t position_of(DType dtype) {
    const auto* found =
        std::find_if(format_names.begin(), format_names.end(), [&](const auto& entry) { return entry.first == dtype; });
    return static_cast<std::size_t>(found - format_names.begin());
}

/// nullopt where the product does not fit.
std::optional<std::uint64_t> nbytes_of(const Entry& entry) {
    std::optional<std::uint64_t> product = model::itemsize(entry.dtype);
    for (const std::uint64_t extent : entry.shape) {
        product = product ? checked_multiply(*product, extent) : std::nullopt;
    }
    return product;
}

/// In quotes; nullopt where it is not UTF-8.
std::optional<std::string> quoted(const std::string& text) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
        return std::nullopt;
    }
}

std::string shape_json(const Entry& entry) {
    std::string text = "[";
    for (std::size_t axis = 0; axis < entry.shape.size(); ++axis) {
        const bool packed = entry.dtype == DType::float4_e2m1fn_x2 && axis + 1 == entry.shape.size();
        text += (axis == 0 ? "" : ",") + std::to_string(entry.shape[axis] * (packed ? 2 : 1));
    }
    return text + "]";
}

std::string length_prefix(std::uint64_t nbytes) {
    std::string prefix;
    for (std::size_t byte = 0; byte < length_nbytes; ++byte) {
        prefix.push_back(static_cast<char>((nbytes >> (8 * byte)) & 0xffU));
    }
    return prefix;
}

Error error_about(ErrorCode code, const std::string& file_name, const Entry& entry, const std::string& what) {
    return {code, "'" + file_name + "' cannot hold '" + entry.name + "' as safetensors: " + what};
}

}  // namespace

std::string_view format_name(DType dtype) {
    const std::size_t position = position_of(dtype);
    return position < format_names.size() ? format_names[position].second : std::string_view();
}

Result<Layout> lay_out(const std::vector<Entry>& entries, const Metadata& metadata, const std::string& file_name) {
    Layout layout;
    layout.order.resize(entries.size());
    std::iota(layout.order.begin(), layout.order.end(), std::size_t{0});
    std::sort(layout.order.begin(), layout.order.end(), [&](std::size_t a, std::size_t b) {
        const std::size_t left = position_of(entries[a].dtype);
        const std::size_t right = position_of(entries[b].dtype);
        return left != right ? left < right : entries[a].name < entries[b].name;
    });

    std::string json = "{";
    if (!metadata.empty()) {
        json += R"("__metadata__":{)";
        for (const auto& [key, value] : metadata) {
            const auto quoted_key = quoted(key);
            const auto quoted_value = quoted(value);
            if (!quoted_key || !quoted_value) {
                return Error(ErrorCode::unsupported, "the metadata of '" + file_name + "' is not UTF-8");
            }
            json += (json.back() == '{' ? "" : ",") + *quoted_key + ":" + *quoted_value;
        }
        json += "}";
    }
    std::vector<std::string_view> names;
    names.reserve(entries.size());
    std::uint64_t offset = 0;
    for (const std::size_t index : layout.order) {
        const Entry& entry = entries[index];
        const std::string_view dtype = format_name(entry.dtype);
        if (dtype.empty()) {
            return error_about(ErrorCode::unsupported, file_name, entry,
                               "the format has no " + std::string(model::name(entry.dtype)) + "; show it as bin");
        }
        const auto name = quoted(entry.name);
        if (!name || entry.name == "__metadata__") {
            return error_about(ErrorCode::unsupported, file_name, entry,
                               name ? "the name is the format's own" : "the name is not UTF-8");
        }
        const auto nbytes = nbytes_of(entry);
        const auto end = nbytes ? checked_add(offset, *nbytes) : std::nullopt;
        if (!end) {
            return error_about(ErrorCode::damaged, file_name, entry, "its size does not fit into 64 bits");
        }
        json += (json.size() == 1 ? "" : ",") + *name + R"(:{"dtype":")" + std::string(dtype) + R"(","shape":)" +
                shape_json(entry) + R"(,"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(*end) + "]}";
        names.push_back(entry.name);
        offset = *end;
    }
    json += "}";
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
        return Error(ErrorCode::invalid_argument, "'" + file_name + "' has two tensors called '" + std::string(*twice) +
                                                      "'; give --rename so that they differ");
    }
    json.resize((json.size() + 7) / 8 * 8, ' ');
    if (json.size() > max_header_nbytes) {
        return Error(ErrorCode::unsupported, "the header of '" + file_name + "' has " + std::to_string(json.size()) +
                                                 " bytes, and readers take at most " +
                                                 std::to_string(max_header_nbytes) +
                                                 "; give a smaller --max-shard-size");
    }
    layout.header = length_prefix(json.size()) + json;
    const auto total = checked_add(layout.header.size(), offset);
    if (!total) {
        return Error(ErrorCode::damaged, "the size of '" + file_name + "' does not fit into 64 bits");
    }
    layout.nbytes = *total;
    return layout;
}

}  // namespace ckptfs::safetensors
