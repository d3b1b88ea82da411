// The file names of a tag directory (DeepSpeed 0.19.8, runtime/engine.py _get_ckpt_name, _get_zero_ckpt_name).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ckptfs::zero {

enum class FileRole : std::uint8_t {
    model_states,        ///< mp_rank_MM_model_states.pt: stages 0 to 2
    model_states_shard,  ///< zero_pp_rank_D_mp_rank_MM_model_states.pt: stage 3
    optimizer_shard,     ///< [bf16_]zero_pp_rank_D_mp_rank_MM_optim_states.pt
    layer,               ///< layer_NN[-model_TT]-model_states.pt: a pipeline's weights
    expert,              ///< layer_L_expert_E_mp_rank_MM_model_states.pt, expp_rank_E_mp_rank_MM_optim_states.pt
};

struct ShardName {
    FileRole role = FileRole::model_states;
    std::string prefix;           ///< "bf16_" or ""
    std::uint64_t data_rank = 0;  ///< 0 where the name has none
    std::string model_rank;       ///< MM, as written
    std::string suffix;           ///< what follows MM
    std::uint64_t layer = 0;      ///< NN, of a pipeline's layer
    std::uint64_t slice = 0;      ///< TT, the tensor-parallel rank; 0 where the name has none
};

/// nullopt for any other name.
[[nodiscard]] std::optional<ShardName> parse_shard_name(std::string_view name);

[[nodiscard]] std::string optimizer_file_name(std::string_view prefix, std::uint64_t data_rank,
                                              std::string_view model_rank, std::string_view suffix);
[[nodiscard]] std::string model_states_shard_name(std::uint64_t data_rank, std::string_view model_rank);

}  // namespace ckptfs::zero
