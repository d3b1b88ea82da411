// What the listing of a tag directory holds, and which of its files belong to a family.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "zero/config.h"
#include "zero/file_names.h"

namespace ckptfs::zero {

struct ModelStatesName {
    std::string rank;  ///< MM, as it is written
    std::string name;
};

struct Inventory {
    std::map<std::uint64_t, ModelStatesName> model_states;  ///< by model-parallel rank
    /// Of stage 3: by model-parallel, then by data-parallel rank.
    std::map<std::uint64_t, std::map<std::uint64_t, ModelStatesName>> model_states_shards;
    std::vector<std::pair<ShardName, std::string>> optimizer;
    /// Of a pipeline: by layer, then by tensor-parallel rank.
    std::map<std::uint64_t, std::map<std::uint64_t, std::string>> layers;
    std::string expert;  ///< one of the files that only a mixture of experts has
    bool swapped = false;
    bool universal = false;

    [[nodiscard]] bool any_zero() const {
        return !model_states.empty() || !model_states_shards.empty() || !optimizer.empty() || !expert.empty();
    }
    [[nodiscard]] bool is_stage3() const { return model_states.empty() && !model_states_shards.empty(); }
    /// The file that says how many ranks a family has: its only model states, or those of data-parallel rank 0.
    [[nodiscard]] const ModelStatesName* first_model_states(std::uint64_t model_rank) const;
};

[[nodiscard]] Inventory take_inventory(const std::vector<DirectoryEntry>& listing);

/// One family, and how many data-parallel ranks its model states count.
struct FamilyKey {
    std::string rank;  ///< MM, as it is written
    std::uint64_t dp_world_size = 1;
    bool among_others = false;  ///< there are several model-parallel ranks
};

struct OptimizerNames {
    std::vector<std::string> names;  ///< by data-parallel rank
    std::string prefix;
    std::string suffix;
};

/// The optimizer files of all its ranks, with the prefix that the engine would look for. `incomplete` where one is
/// missing, `inconsistent` where there are files of two and no config is stored that tells; `path`: of the tag
/// directory, for messages.
Result<OptimizerNames> optimizer_names(const Inventory& inventory, const FamilyKey& family, const LayoutConfig& config,
                                       const std::string& path);

/// Stage 3: the model states of all its ranks. `incomplete` where one is missing.
Result<std::vector<std::string>> model_states_names(const Inventory& inventory, const FamilyKey& family,
                                                    const std::string& path);

}  // namespace ckptfs::zero
