// Reads the layout settings from a pickled or a JSON config.
#include "zero/config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

namespace ckptfs::zero {
namespace {

// pydantic's notion of a true string; "auto" (Hugging Face) and all else are false.
bool is_true_word(std::string_view text) {
    constexpr std::array<std::string_view, 6> words{"1", "on", "t", "true", "y", "yes"};
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    return std::find(words.begin(), words.end(), lower) != words.end();
}

bool truth(const pickle::Node* node) {
    if (node == nullptr) {
        return false;
    }
    switch (node->kind) {
        case pickle::Kind::boolean:
        case pickle::Kind::integer:
            return node->integer != 0;
        case pickle::Kind::string:
            return is_true_word(node->text);
        default:
            return false;
    }
}

bool truth(const nlohmann::json& value) {
    if (value.is_boolean()) {
        return value.get<bool>();
    }
    if (value.is_number_integer()) {
        return value.get<std::int64_t>() != 0;
    }
    return value.is_string() && is_true_word(value.get<std::string>());
}

// As DeepSpeed's int() takes it, 1e9 included; what is no such number ("auto") leaves the default.
void set_sub_group_size(LayoutConfig& config, double value) {
    constexpr double most = 9e18;
    if (value >= 0 && value <= most) {
        config.sub_group_size = static_cast<std::uint64_t>(value);
    }
}

void set_sub_group_size(LayoutConfig& config, std::int64_t value) {
    if (value >= 0) {
        config.sub_group_size = static_cast<std::uint64_t>(value);
    }
}

void set_offload(LayoutConfig& config, std::string_view device) {
    config.optimizer_offloaded = !device.empty() && device != "none";
    config.optimizer_on_nvme = device == "nvme";
}

const nlohmann::json& member(const nlohmann::json& object, const char* key) {
    static const nlohmann::json absent;
    if (!object.is_object()) {
        return absent;
    }
    const auto it = object.find(key);
    return it == object.end() ? absent : *it;
}

}  // namespace

LayoutConfig layout_config(const pickle::Node* ds_config) {
    const pickle::Node* zero = pickle::find(ds_config, "zero_optimization");
    LayoutConfig config;
    config.round_robin_gradients = truth(pickle::find(zero, "round_robin_gradients"));
    config.parameter_alignment = truth(pickle::find(zero, "parameter_alignment"));
    config.quantized_nontrainable_weights = truth(pickle::find(zero, "zero_quantized_nontrainable_weights"));
    const pickle::Node* size = pickle::find(zero, "sub_group_size");
    if (size != nullptr && size->kind == pickle::Kind::integer) {
        set_sub_group_size(config, size->integer);
    } else if (size != nullptr && size->kind == pickle::Kind::real) {
        set_sub_group_size(config, size->real);
    }
    const pickle::Node* bf16 = pickle::find(ds_config, "bf16");
    config.bf16 = truth(pickle::find(bf16 != nullptr ? bf16 : pickle::find(ds_config, "bfloat16"), "enabled"));
    const pickle::Node* device = pickle::find(pickle::find(zero, "offload_optimizer"), "device");
    if (device != nullptr && device->kind == pickle::Kind::string) {
        set_offload(config, device->text);
    } else if (truth(pickle::find(zero, "cpu_offload"))) {
        set_offload(config, "cpu");
    }
    return config;
}

Result<LayoutConfig> read_layout_config(const std::string& path) {
    std::ifstream stream(path);
    if (!stream) {
        return Error(ErrorCode::not_found, "the DeepSpeed config '" + path + "' cannot be opened");
    }
    const nlohmann::json json =
        nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false, /*ignore_comments=*/true);
    if (!json.is_object()) {
        return Error(
            ErrorCode::invalid_argument,
            "the DeepSpeed config '" + path + "' is not a JSON object; pass the file given to deepspeed.initialize");
    }
    const nlohmann::json& zero = member(json, "zero_optimization");
    LayoutConfig config;
    config.round_robin_gradients = truth(member(zero, "round_robin_gradients"));
    config.parameter_alignment = truth(member(zero, "parameter_alignment"));
    config.quantized_nontrainable_weights = truth(member(zero, "zero_quantized_nontrainable_weights"));
    const nlohmann::json& size = member(zero, "sub_group_size");
    if (size.is_number_integer()) {
        set_sub_group_size(config, size.get<std::int64_t>());
    } else if (size.is_number()) {
        set_sub_group_size(config, size.get<double>());
    }
    config.bf16 = truth(member(member(json, json.contains("bf16") ? "bf16" : "bfloat16"), "enabled"));
    const nlohmann::json& device = member(member(zero, "offload_optimizer"), "device");
    if (device.is_string()) {
        set_offload(config, device.get<std::string>());
    } else if (truth(member(zero, "cpu_offload"))) {
        set_offload(config, "cpu");
    }
    return config;
}

}  // namespace ckptfs::zero
