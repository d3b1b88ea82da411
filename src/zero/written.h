// What DeepSpeed wrote around the content of a checkpoint: the files of a tag, how they are cut, and their forms.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/source.h"
#include "model/checkpoint.h"
#include "model/elements.h"
#include "pt/archive.h"
#include "zero/config.h"
#include "zero/module_tensors.h"
#include "zero/partition.h"
#include "zero/saved_values.h"
#include "zero/zero3_partition.h"

namespace ckptfs::zero {

/// How the files keep one element-wise state of a parameter group: the fp32 master, exp_avg … What it holds is in the
/// content, whose elements point into `shards`: a form moves, but is never copied.
struct StateForm {
    StateForm() = default;
    StateForm(StateForm&&) = default;
    StateForm& operator=(StateForm&&) = default;

    model::DType dtype = model::DType::float32;  ///< of the storages, which a group without parameters has too
    std::vector<model::Shard> shards;            ///< by rank, at stage 3 by sub-group and rank
    const pickle::Node* example = nullptr;       ///< a tensor of this state in some rank's tree: its form, not its data
    std::size_t example_rank = 0;                ///< whose file the example is in
    std::shared_ptr<const pt::Archive> example_tree;  ///< that the example hangs in
    bool muon_momentum = false;                       ///< of a group that Muon steps, under ZeRO-1/2
    bool form_is_guess = false;     ///< neither the files nor a config tell whether whole_parameters is right
    bool whole_parameters = false;  ///< Muon under ZeRO-1/2: each rank keeps whole those parameters that it touches
};

/// The buffer behind `module` that a group's weights lie in, as FlatForm::rules lay them out.
struct WeightsBuffer {
    model::DType dtype = model::DType::float32;
    model::Shard shard;
    const pickle::Node* example = nullptr;            ///< one of the tensors that look into it
    std::shared_ptr<const pt::Archive> example_tree;  ///< that the example hangs in
};

/// How stages 1 and 2 lay out a group: as one flat buffer, cut over the ranks.
struct FlatForm {
    FlatRules rules;                       ///< of the source; alignment is per group because it depends on the dtype
    std::vector<FlatRules> other_rules;    ///< that explain the files as well, where no config is stored that tells
    std::optional<WeightsBuffer> weights;  ///< absent where `module` is not flat
    std::uint64_t weights_itemsize = 4;    ///< of the parameters' own dtype, which alignment depends on
};

/// How the files keep a parameter group.
struct GroupForm {
    StateForm master;
    std::vector<StateForm> states;  ///< by the content's group.states
    bool has_state = false;         ///< the optimizer has stepped: `state` has an entry for this group
    std::optional<FlatForm> flat;   ///< absent at stage 3, which cuts every parameter by itself
};

/// A state of a group, from both sides: how the files keep it, and where its elements lie. Refers to both.
class State {
 public:
    [[nodiscard]] static State master(const model::Group& group, const GroupForm& form) {
        return {group, form.master, std::nullopt};
    }
    /// `index`: into group.states.
    State(const model::Group& group, const GroupForm& form, std::size_t index)
        : State(group, form.states[index], index) {}

    [[nodiscard]] const StateForm& form() const { return *form_; }
    [[nodiscard]] const model::Group& group() const { return *group_; }
    [[nodiscard]] std::string_view key() const { return index_ ? std::string_view(group_->states[*index_]) : "fp32"; }
    [[nodiscard]] const model::Elements& elements(std::size_t parameter) const {
        const model::Parameter& of = group_->parameters[parameter];
        return index_ ? of.states[*index_] : *of.master;
    }

 private:
    State(const model::Group& group, const StateForm& form, std::optional<std::size_t> index)
        : group_(&group), form_(&form), index_(index) {}

    const model::Group* group_;
    const StateForm* form_;
    std::optional<std::size_t> index_;
};

/// The element-wise optimizer states of a group, in the order in which the files name them.
[[nodiscard]] std::vector<State> states_of(const model::Group& group, const GroupForm& form);

/// A parameter in frozen_param_fragments, which each rank of stage 3 keeps its share of. The content has it among its
/// frozen parameters, unless an optimizer owns it too: one that was frozen while it trained.
struct FrozenFragments {
    FrozenFragments() = default;
    FrozenFragments(FrozenFragments&&) = default;
    FrozenFragments& operator=(FrozenFragments&&) = default;

    model::Parameter parameter;        ///< whose weight points into `shards`
    std::vector<model::Shard> shards;  ///< by rank
};

/// A rank's file: its tree (shared with all ranks of the same structure) and where its kept storages lie.
struct RankFile {
    std::string name;  ///< in the tag directory
    std::shared_ptr<const File> file;
    FileInfo info;         ///< with the mode that an access control list leaves of it
    std::string location;  ///< of its fp32 partitions: "cpu", "cuda:3"
    /// The first rank's whose tree differs only in re-cut fields; nullptr where there are so many different ones that
    /// this file's own has to be read again when it is needed. Rank 0's is always there.
    std::shared_ptr<const pt::Archive> structure;
    pt::RecordPlaces places;  ///< of structure->storages(), in this rank's file
};

/// The weights of a pipeline stage, in files of their own that no world size changes.
struct PipelineLayers {
    std::vector<RankFile> files;        ///< names, files and infos; no trees
    std::vector<ModuleTensor> tensors;  ///< what they hold: "<layer>.<name in the layer>"
    std::vector<std::string> gaps;      ///< tensors there that cannot be read, a sentence each
};

/// What stage 3 alone writes: model states of every rank, and groups cut into sub-groups.
struct Zero3Family {
    std::vector<RankFile> model_states;  ///< by data-parallel rank
    std::vector<SubGroup> sub_groups;    ///< as the source is cut, of all groups in their order
    std::vector<FrozenFragments> frozen;
    /// By group: what its engine numbers each parameter; empty where files do not say it.
    std::vector<std::vector<std::int64_t>> ds_ids;
};

/// The files of one model-parallel rank, which are cut over the data-parallel ranks by themselves.
struct Family {
    std::string rank;               ///< MM, as the file names write it
    std::vector<GroupForm> groups;  ///< by the content's groups of its rank; none at stage 0
    std::string model_states_name;  ///< of the only model states, or of data-parallel rank 0's
    std::shared_ptr<const pt::Archive> model_states;
    FileInfo model_states_info;
    std::vector<RankFile> optimizer;  ///< by data-parallel rank
    PipelineLayers layers;
    std::optional<Zero3Family> zero3;  ///< of stage 3

    /// By data-parallel rank; empty where all share one file.
    [[nodiscard]] const std::vector<RankFile>& model_states_of_ranks() const;
    /// Of all ranks and layers, in this order: model states of ranks, optimizer files, layers.
    [[nodiscard]] std::vector<const RankFile*> rank_files() const;
};

enum class Format : std::uint8_t {
    stage0,          ///< no optimizer files: nothing depends on the world size
    zero12,          ///< DeepSpeedZeroOptimizer: stages 1 and 2
    zero12_elastic,  ///< the same with zero_optimization.elastic_checkpoint: lean states in a list
    bf16_optimizer,  ///< BF16_Optimizer: stage 1
    zero3,           ///< DeepSpeedZeroOptimizer_Stage3
};
[[nodiscard]] std::string_view name(Format format);

/// A whole, consistent checkpoint as DeepSpeed wrote it: what it holds, and the files and forms around that. Immutable
/// once read; holds metadata, no tensor data.
struct Written {
    Format format = Format::zero12;
    int stage = 0;
    std::uint64_t dp_world_size = 0;  ///< of the source: how many ranks the optimizer's states are cut over
    /// Ranks that share one data-parallel rank's files, the sequence being cut over them (sequence parallelism by
    /// mesh). Under an mpu of Ulysses, which cuts the states over these ranks too, it is 1.
    std::uint64_t sequence_parallel = 1;
    std::string optimizer_prefix;  ///< of the optimizer files' names: "bf16_" or ""
    std::string optimizer_suffix;  ///< "_optim_states.pt", in old checkpoints "optim_states.pt"
    LayoutConfig config;           ///< the layout settings stored in the checkpoint
    std::string deepspeed_version;
    /// What all this means, one rank for each family; its elements point into the families' forms and files.
    model::Checkpoint content;
    std::vector<Family> families;
    /// What ranks of one family keep for themselves alone, so that it has no right value at another world size.
    std::vector<RankValue> rank_values;
    /// Where there are such values: the data-parallel rank whose are given to all (--rank-values-of).
    std::optional<std::uint64_t> rank_values_of;
    /// What its user should know before resuming from it, in whole sentences that name files.
    std::vector<std::string> warnings;

    /// Ranks to each data-parallel rank.
    [[nodiscard]] std::uint64_t degree() const { return families.size() * sequence_parallel; }
    /// All ranks that wrote it, as WORLD_SIZE counted them.
    [[nodiscard]] std::uint64_t world_size() const { return dp_world_size * degree(); }
    /// The source rank whose optimizer file that of a target rank is edited from.
    [[nodiscard]] std::uint64_t optimizer_template(std::uint64_t target_rank) const {
        return rank_values_of.value_or(target_rank % dp_world_size);
    }
};

}  // namespace ckptfs::zero
