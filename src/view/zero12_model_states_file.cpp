// The layout at the target world size, and the model states edited to it.
#include <algorithm>
#include <unordered_map>

#include "pt/archive_editor.h"
#include "view/dict_edit.h"
#include "view/partition_content.h"
#include "view/stored_config.h"
#include "view/zero12_files.h"
#include "zero/model_states.h"

namespace ckptfs::view {
namespace {

using pickle::Node;
using zero::FlatLayout;

/// A group's flat buffer in the new file, and how positions in the old one move into it.
struct MovedBuffer {
    const FlatLayout* layout = nullptr;
    std::size_t storage = 0;
    FlatLayout source_layout;
};

template <class Parameter>
std::vector<std::uint64_t> numels_of(const std::vector<Parameter>& parameters) {
    std::vector<std::uint64_t> counts;
    counts.reserve(parameters.size());
    for (const Parameter& parameter : parameters) {
        counts.push_back(parameter.numel);
    }
    return counts;
}

// Where element `position` of the old buffer is in the new one. Positions outside all parameters are padding: nothing
// there moves.
std::optional<std::uint64_t> moved(const MovedBuffer& buffer, std::uint64_t position,
                                   const std::vector<std::uint64_t>& offsets) {
    const std::size_t i = buffer.source_layout.first_slot_after(position);
    if (i == buffer.source_layout.slots.size() || buffer.source_layout.slots[i].offset_numel > position) {
        return std::nullopt;
    }
    const zero::Slot& slot = buffer.source_layout.slots[i];
    return offsets[slot.parameter] + (position - slot.offset_numel);
}

std::vector<std::uint64_t> offsets_by_parameter(const FlatLayout& layout) {
    std::vector<std::uint64_t> offsets(layout.slots.size());
    for (const zero::Slot& slot : layout.slots) {
        offsets[slot.parameter] = slot.offset_numel;
    }
    return offsets;
}

// Moves every tensor of `module` that looks into the group's buffer; tied names look at the same place and stay tied.
Result<void> move_tensors(pt::ArchiveEditor& editor, const Node* module, const zero::WeightsBuffer& weights,
                          const MovedBuffer& buffer) {
    CKPTFS_ASSIGN(const pt::TensorRef example, pt::tensor_ref(weights.example));
    const std::vector<std::uint64_t> offsets = offsets_by_parameter(*buffer.layout);
    for (const auto& [name, node] : pickle::dict_items(module)) {
        if (!pt::is_tensor(node)) {
            continue;
        }
        CKPTFS_ASSIGN(const pt::TensorRef tensor, pt::tensor_ref(node));
        if (tensor.storage.key != example.storage.key) {
            continue;
        }
        const auto offset = moved(buffer, tensor.offset_numel, offsets);
        if (offset) {
            editor.pickle().replace(node, editor.tensor_view(tensor, buffer.storage, *offset));
        }
    }
    return {};
}

// param_shapes lists each group in flat order.
Result<void> reorder_shapes(pickle::Editor& pickle, const Node* shapes, std::size_t g, const model::Group& group,
                            const FlatLayout& layout) {
    std::unordered_map<std::string, std::pair<const Node*, const Node*>> entries;
    const Node* list = pickle::item(shapes, g);
    for (const auto& [key, value] : pickle::dict_items(list)) {
        entries.insert_or_assign(key->text, std::pair(key, value));
    }
    std::vector<const Node*> items;
    for (const zero::Slot& slot : layout.slots) {
        const auto& [key, value] = entries.at(group.parameters[slot.parameter].name);
        items.insert(items.end(), {key, value});
    }
    CKPTFS_ASSIGN(const Node* filled, refilled(pickle, list, std::move(items)));
    return pickle.set_item(shapes, g, filled);
}

// Which parameter lies where.
template <class Parameter>
std::vector<std::pair<std::string, std::uint64_t>> places_of(const std::vector<Parameter>& parameters,
                                                             const FlatLayout& layout) {
    std::vector<std::pair<std::string, std::uint64_t>> places;
    for (const zero::Slot& slot : layout.slots) {
        places.emplace_back(parameters[slot.parameter].name, slot.offset_numel);
    }
    return places;
}

// Where no config is stored, whatever explains the source must cut alike at the target too.
Result<void> check_rules_agree(const zero::Written& checkpoint, const zero::Family& family, const model::Group& group,
                               const zero::GroupForm& form, const FlatLayout& layout) {
    const auto unknown = [&](const char* what) {
        return Error(ErrorCode::invalid_argument,
                     family.model_states->file()->name() +
                         ": the stored ds_config is no dict of settings, and the files do not show " + what +
                         ", which decides how they are cut over " + std::to_string(layout.world_size) +
                         " data-parallel ranks; give --ds-config");
    };
    CKPTFS_ASSIGN(const FlatLayout source,
                  zero::flat_layout(numels_of(group.parameters), checkpoint.dp_world_size, form.flat->rules));
    std::vector<zero::Parameter> in_flat_order;
    for (const zero::Slot& slot : source.slots) {
        const model::Parameter& parameter = group.parameters[slot.parameter];
        in_flat_order.push_back({parameter.name, parameter.shape, parameter.numel});
    }
    for (const zero::FlatRules& rules : form.flat->other_rules) {
        const std::vector<zero::Parameter> other =
            zero::optimizer_order(in_flat_order, checkpoint.dp_world_size, rules.round_robin);
        CKPTFS_ASSIGN(const FlatLayout candidate, zero::flat_layout(numels_of(other), layout.world_size, rules));
        if (candidate.padded_numel != layout.padded_numel ||
            places_of(other, candidate) != places_of(group.parameters, layout)) {
            return unknown(rules.round_robin != form.flat->rules.round_robin ? "zero_optimization.round_robin_gradients"
                                                                             : "zero_optimization.parameter_alignment");
        }
    }
    for (const zero::StateForm& state : form.states) {
        if (state.form_is_guess) {
            return unknown("zero_optimization.offload_optimizer, without which Muon keeps its momentum whole");
        }
    }
    return {};
}

}  // namespace

Result<TargetLayout> target_layout(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                                   const std::optional<zero::LayoutConfig>& target) {
    TargetLayout result;
    result.dp_world_size = dp_world_size;
    if (target) {
        result.settings = target;
        result.whole_momentum = !target->optimizer_offloaded;
        if (checkpoint.format == zero::Format::bf16_optimizer &&
            (target->round_robin_gradients || target->parameter_alignment)) {
            return Error(ErrorCode::invalid_argument,
                         "the config that will resume sets round_robin_gradients or parameter_alignment, and the "
                         "checkpoint is of BF16_Optimizer, whose files know no such order of elements; set both to "
                         "false");
        }
    }
    result.same_as_source = dp_world_size == checkpoint.dp_world_size;
    for (std::size_t f = 0; f < checkpoint.families.size(); ++f) {
        const zero::Family& family = checkpoint.families[f];
        std::vector<FlatLayout>& layouts = result.families.emplace_back();
        for (std::size_t g = 0; g < family.groups.size(); ++g) {
            const model::Group& group = checkpoint.content.ranks[f].groups[g];
            const zero::GroupForm& form = family.groups[g];
            zero::FlatRules rules = form.flat->rules;
            // BF16_Optimizer knows neither setting.
            if (target && checkpoint.format != zero::Format::bf16_optimizer) {
                rules.round_robin = target->round_robin_gradients;
                rules.alignment_numel =
                    target->parameter_alignment ? zero::alignment_numel(form.flat->weights_itemsize) : 1;
            }
            CKPTFS_ASSIGN(FlatLayout layout, zero::flat_layout(numels_of(group.parameters), dp_world_size, rules));
            if (!target && dp_world_size != checkpoint.dp_world_size) {
                CKPTFS_TRY(check_rules_agree(checkpoint, family, group, form, layout));
            }
            layouts.push_back(std::move(layout));
            result.same_as_source &= rules == form.flat->rules;
            for (const zero::StateForm& state : form.states) {
                result.same_as_source &= !state.muon_momentum || result.whole_momentum.value_or(
                                                                     state.whole_parameters) == state.whole_parameters;
            }
        }
    }
    return result;
}

Result<std::shared_ptr<const VirtualFile>> recut_model_states_file(
    const std::shared_ptr<const zero::Written>& checkpoint, const TargetLayout& target, std::size_t family_index,
    const std::string& file_name) {
    const std::vector<FlatLayout>& layouts = target.families[family_index];
    const zero::Family& family = checkpoint->families[family_index];
    pt::ArchiveEditor editor(family.model_states);
    const Node* root = family.model_states->root();
    const Node* shapes = pickle::find(root, "param_shapes");
    for (std::size_t g = 0; g < layouts.size(); ++g) {
        const model::Group& group = checkpoint->content.ranks[family_index].groups[g];
        const zero::GroupForm& form = family.groups[g];
        CKPTFS_ASSIGN(FlatLayout source_layout,
                      zero::flat_layout(numels_of(group.parameters), checkpoint->dp_world_size, form.flat->rules));
        if (form.flat->weights) {
            CKPTFS_ASSIGN(const pt::TensorRef like, pt::tensor_ref(form.flat->weights->example));
            const std::size_t storage =
                editor.add_storage(form.flat->weights->dtype, layouts[g].padded_numel, like.storage.location,
                                   flat_content(*form.flat->weights, source_layout, layouts[g]));
            CKPTFS_TRY(move_tensors(editor, pickle::find(root, "module"), *form.flat->weights,
                                    {&layouts[g], storage, source_layout}));
        }
        const bool same_order = std::equal(
            source_layout.slots.begin(), source_layout.slots.end(), layouts[g].slots.begin(), layouts[g].slots.end(),
            [](const zero::Slot& a, const zero::Slot& b) { return a.parameter == b.parameter; });
        if (!same_order) {
            CKPTFS_TRY(reorder_shapes(editor.pickle(), shapes, g, group, layouts[g]));
        }
    }
    const Node* world_size = editor.pickle().integer(static_cast<std::int64_t>(target.dp_world_size));
    CKPTFS_TRY(editor.pickle().set_item(root, "dp_world_size", world_size));
    CKPTFS_TRY(store_target_rules(editor.pickle(), root, target));
    return editor.lay_out(file_name, checkpoint);
}

}  // namespace ckptfs::view
