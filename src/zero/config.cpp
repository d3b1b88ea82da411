// Reads the layout settings from a pickled or a JSON config.
#include "zero/config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "zero/hjson.h"

namespace ckptfs::zero {
namespace {

// pydantic's notion of a true string; "auto" (Hugging Face) and all else are false.
bool is_true_word(std::string_view text) {
    constexpr std::array<std::string_view, 6> words{"1", "on", "t", "true", "y", "yes"};
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    return std::find(words.begin(), words.end(), lower) != words.end();
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

// pydantic takes digits in quotes.
void set_sub_group_size(LayoutConfig& config, const std::string& text) {
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure == std::errc() && end == text.data() + text.size()) {
        set_sub_group_size(config, value);
    }
}

const nlohmann::json& member(const nlohmann::json& object, const char* key) {
    static const nlohmann::json absent;
    if (!object.is_object()) {
        return absent;
    }
    const auto it = object.find(key);
    return it == object.end() ? absent : *it;
}

// Configs are small; a hostile one may be deep, wide or cyclic.
constexpr int max_config_depth = 8;
constexpr std::size_t max_config_nodes = 10'000;
constexpr std::size_t max_config_nbytes = 4 << 20;

nlohmann::json as_json(const pickle::Node* node, int depth, std::size_t& budget) {
    if (node == nullptr || depth == 0 || budget == 0) {
        return nullptr;
    }
    --budget;
    switch (node->kind) {
        case pickle::Kind::boolean:
            return node->integer != 0;
        case pickle::Kind::integer:
            return node->integer;
        case pickle::Kind::real:
            return node->real;
        case pickle::Kind::string:
            return node->text;
        default:
            break;
    }
    if (!pickle::is_dict_like(node)) {
        return nullptr;
    }
    nlohmann::json object = nlohmann::json::object();
    for (const auto& [key, value] : pickle::dict_items(node)) {
        if (key->kind == pickle::Kind::string) {
            object[key->text] = as_json(value, depth - 1, budget);
        }
    }
    return object;
}

std::string name_of_config(const std::string& path) {
    return "the DeepSpeed config '" + path + "'";
}

}  // namespace

nlohmann::json config_json(const pickle::Node* ds_config) {
    std::size_t budget = max_config_nodes;
    return as_json(ds_config, max_config_depth, budget);
}

Result<std::string> read_config_text(const std::string& path) {
    const std::string name = name_of_config(path);
    errno = 0;  // the streams of the standard library keep what the system says
    std::ifstream stream(path);
    if (!stream) {
        return Error(ErrorCode::not_found, name + " cannot be opened: " + std::generic_category().message(errno) +
                                               "; pass the file given to deepspeed.initialize");
    }
    std::string text(max_config_nbytes + 1, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (stream.bad()) {
        return Error(ErrorCode::invalid_argument, name + " cannot be read: " + std::generic_category().message(errno) +
                                                      "; pass the file given to deepspeed.initialize");
    }
    text.resize(static_cast<std::size_t>(stream.gcount()));
    if (text.size() > max_config_nbytes) {
        return Error(ErrorCode::invalid_argument, name + " is larger than " + std::to_string(max_config_nbytes) +
                                                      " bytes; pass the file given to deepspeed.initialize");
    }
    return text;
}

Result<nlohmann::json> parse_config(const std::string& text, const std::string& path) {
    const std::string name = name_of_config(path);
    CKPTFS_ASSIGN(nlohmann::json json, parse_hjson(text, name));
    if (!json.is_object()) {
        return Error(ErrorCode::invalid_argument,
                     name + " holds a list, not an object; pass the file given to deepspeed.initialize");
    }
    return json;
}

Result<nlohmann::json> read_config_file(const std::string& path) {
    CKPTFS_ASSIGN(const std::string text, read_config_text(path));
    return parse_config(text, path);
}

const nlohmann::json& setting(const nlohmann::json& config, std::initializer_list<const char*> path) {
    const nlohmann::json* value = &config;
    for (const char* key : path) {
        value = &member(*value, key);
    }
    return *value;
}

bool enabled(const nlohmann::json& config, std::initializer_list<const char*> path) {
    return truth(setting(config, path));
}

std::string offload_device(const nlohmann::json& config, const char* what) {
    const nlohmann::json& device = setting(config, {"zero_optimization", what, "device"});
    if (device.is_string()) {
        return device.get<std::string>();
    }
    // The form before 0.3.16.
    const bool old =
        std::string_view(what) == "offload_optimizer" && enabled(config, {"zero_optimization", "cpu_offload"});
    return old ? "cpu" : "none";
}

LayoutConfig layout_config(const nlohmann::json& config) {
    LayoutConfig result;
    result.known = config.is_object() && !config.empty();
    result.round_robin_gradients = enabled(config, {"zero_optimization", "round_robin_gradients"});
    result.parameter_alignment = enabled(config, {"zero_optimization", "parameter_alignment"});
    result.quantized_nontrainable_weights =
        enabled(config, {"zero_optimization", "zero_quantized_nontrainable_weights"});
    const nlohmann::json& size = setting(config, {"zero_optimization", "sub_group_size"});
    if (size.is_number_integer()) {
        set_sub_group_size(result, size.get<std::int64_t>());
    } else if (size.is_number()) {
        set_sub_group_size(result, size.get<double>());
    } else if (size.is_string()) {
        set_sub_group_size(result, size.get<std::string>());
    }
    result.bf16 = enabled(config, {config.contains("bf16") ? "bf16" : "bfloat16", "enabled"});
    const nlohmann::json& sequence = setting(config, {"sequence_parallel_size"});
    if (sequence.is_number_integer() && setting(config, {"data_parallel_size"}).is_number_integer()) {
        constexpr std::int64_t most = 1 << 20;
        result.mesh_sequence_parallel =
            static_cast<std::uint64_t>(std::clamp<std::int64_t>(sequence.get<std::int64_t>(), 1, most));
    }
    const std::string device = offload_device(config, "offload_optimizer");
    result.optimizer_offloaded = !device.empty() && device != "none";
    result.optimizer_on_nvme = device == "nvme";
    return result;
}

std::int64_t stage_setting(const nlohmann::json& config) {
    const nlohmann::json& stage = setting(config, {"zero_optimization", "stage"});
    return stage.is_number_integer() ? stage.get<std::int64_t>() : 0;
}

bool makes_bf16_optimizer(const nlohmann::json& config) {
    const LayoutConfig layout = layout_config(config);
    const nlohmann::json& gradients = setting(config, {"data_types", "grad_accum_dtype"});
    // The names of runtime/config.py DtypeEnum.
    const bool fp32 =
        gradients == "fp32" || gradients == "float32" || gradients == "float" || gradients == "torch.float32";
    return stage_setting(config) == 1 && layout.bf16 && fp32 && !layout.optimizer_offloaded;
}

LayoutConfig engine_layout(const nlohmann::json& config) {
    LayoutConfig result = layout_config(config);
    if (makes_bf16_optimizer(config)) {
        result.round_robin_gradients = false;
        result.parameter_alignment = false;
    }
    return result;
}

}  // namespace ckptfs::zero
