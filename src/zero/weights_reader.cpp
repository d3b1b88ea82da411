// Family by family, from param_shapes and `module`.
#include "zero/weights_reader.h"

#include <optional>
#include <utility>

#include "zero/content.h"
#include "zero/family_reader.h"
#include "zero/layer_files.h"
#include "zero/mixed_saves.h"

namespace ckptfs::zero {
namespace {

struct SavedCounts {
    std::uint64_t world_size = 0;
    std::uint64_t model_parallel = 0;
    std::optional<std::int64_t> global_steps;

    bool operator==(const SavedCounts&) const = default;
};

Result<void> read_family(const TagFiles& tag, std::size_t index, const ModelStates& states, Family& family,
                         model::Rank& content) {
    for (const std::vector<Parameter>& parameters : states.groups) {
        family.groups.emplace_back().flat.emplace();
        model::Group& group = content.groups.emplace_back();
        for (const Parameter& parameter :
             optimizer_order(parameters, states.world_size, states.config.round_robin_gradients)) {
            group.parameters.push_back(parameter.in_content());
        }
    }
    return read_layer_files(tag.source, tag.directory, tag.inventory, states, index, content, family);
}

}  // namespace

Result<std::shared_ptr<const WeightsOnly>> read_weights(const Source& source, const std::string& directory,
                                                        OpenedFamilies opened) {
    CKPTFS_ASSIGN(const std::vector<DirectoryEntry> listing, source.list(directory));
    const Inventory inventory = take_inventory(listing);
    const TagFiles tag{source, directory, inventory, &opened};
    if (inventory.universal || !inventory.any_zero()) {
        return Error(ErrorCode::not_a_checkpoint,
                     tag.path() + ": expected ZeRO model states (mp_rank_00_model_states.pt), and found none");
    }
    if (inventory.is_stage3()) {
        return Error(ErrorCode::unsupported,
                     tag.path() +
                         ": ZeRO stage 3 keeps its weights in the optimizer files alone; restore those, and read them "
                         "together with the model states");
    }
    if (!inventory.expert.empty() || !inventory.model_states_shards.empty()) {
        CKPTFS_TRY(refuse_by_listing(inventory, tag.path()));
    }
    auto weights = std::make_shared<WeightsOnly>();
    SavedCounts first;
    std::uint64_t degree = 1;
    for (std::uint64_t rank = 0; rank < degree; ++rank) {
        Family& family = weights->families.emplace_back();
        CKPTFS_ASSIGN(const ModelStates states, open_family(tag, rank, family));
        model::Rank& content = weights->content.ranks.emplace_back();
        const SavedCounts found{states.world_size, states.model_parallel, states.global_steps};
        if (rank == 0) {
            first = found;
            degree = states.model_parallel;
            weights->dp_world_size = states.world_size;
            weights->deepspeed_version = states.deepspeed_version;
        } else if (found != first) {
            return mixed_saves(states.archive->file()->name() +
                               ": its world sizes or global_steps are not those of model-parallel rank 0");
        }
        CKPTFS_TRY(read_family(tag, rank, states, family, content));
    }
    CKPTFS_TRY(read_other_layer_files(source, directory, inventory, weights->families));
    for (const Family& family : weights->families) {
        CKPTFS_TRY(check_unchanged(tag, family));
    }
    complete_content(weights->families, "", weights->content);
    return std::shared_ptr<const WeightsOnly>(std::move(weights));
}

}  // namespace ckptfs::zero
