// The settings of a DeepSpeed config that enter the layout of a checkpoint.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "ckptfs/result.h"
#include "pt/pickle.h"
#include "zero/partition.h"
#include "zero/zero3_partition.h"

namespace ckptfs::zero {

/// zero_optimization.* with DeepSpeed's defaults (runtime/zero/config.py). DeepSpeed stores what it was given, which
/// may be the path of a file, or nothing: then `known` is false, and the settings below are no more than a guess.
/// elastic_checkpoint is not among them: DeepSpeed loads either form into either engine (stage_1_and_2.py
/// _load_legacy_checkpoint), and the plain form holds hyper-parameters that the elastic one lacks, so a view keeps its
/// source's form.
struct LayoutConfig {
    bool round_robin_gradients = false;
    bool parameter_alignment = false;
    bool bf16 = false;                 ///< bf16.enabled: decides the prefix of optimizer files
    bool optimizer_offloaded = false;  ///< offload_optimizer.device is not "none"
    bool optimizer_on_nvme = false;    ///< offload_optimizer.device is "nvme"
    std::uint64_t sub_group_size =
        default_sub_group_size;  ///< stage 3: elements of a rank after which a sub-group ends
    /// sequence_parallel_size beside data_parallel_size: DeepSpeed makes a mesh of them (deepspeed.initialize), and
    /// cuts states over the data-parallel axis alone. 1 where either is absent.
    std::uint64_t mesh_sequence_parallel = 1;
    bool quantized_nontrainable_weights = false;  ///< stage 3: zero_quantized_nontrainable_weights
    bool known = true;                            ///< it is a dict of settings: what it lacks has its default

    bool operator==(const LayoutConfig&) const = default;
};

/// The `ds_config` dict that a checkpoint stores: its dicts and scalars, null for anything else. nullptr gives null.
[[nodiscard]] nlohmann::json config_json(const pickle::Node* ds_config);

/// A DeepSpeed config file, which may be a pipe and give its bytes once. `not_found`, or `invalid_argument` where it
/// cannot be read.
Result<std::string> read_config_text(const std::string& path);
/// Such a text, read as DeepSpeed reads it (zero/hjson.h). `path` is for messages. `invalid_argument` where it holds no
/// object.
Result<nlohmann::json> parse_config(const std::string& text, const std::string& path);
/// Both.
Result<nlohmann::json> read_config_file(const std::string& path);

/// The value at a path of keys; null where there is none.
[[nodiscard]] const nlohmann::json& setting(const nlohmann::json& config, std::initializer_list<const char*> path);
/// Whether it is true as DeepSpeed (pydantic) reads it: true, 1, "yes"; "auto" is not.
[[nodiscard]] bool enabled(const nlohmann::json& config, std::initializer_list<const char*> path);
/// `what`: "offload_optimizer" or "offload_param". "none", "cpu" or "nvme".
[[nodiscard]] std::string offload_device(const nlohmann::json& config, const char* what);

/// zero_optimization.stage, 0 where it is absent or no number.
[[nodiscard]] std::int64_t stage_setting(const nlohmann::json& config);
/// Whether DeepSpeed makes it a BF16_Optimizer (runtime/engine.py _do_optimizer_sanity_check) rather than ZeRO-1/2's.
[[nodiscard]] bool makes_bf16_optimizer(const nlohmann::json& config);

/// As the keys say, for a config that a checkpoint stores.
[[nodiscard]] LayoutConfig layout_config(const nlohmann::json& config);
/// Of the engine that a config makes: BF16_Optimizer knows neither round_robin_gradients nor parameter_alignment.
[[nodiscard]] LayoutConfig engine_layout(const nlohmann::json& config);

}  // namespace ckptfs::zero
