// Edits a rank's stage-3 optimizer file into one of another world size.
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pt/archive_editor.h"
#include "view/dict_edit.h"
#include "view/rank_template.h"
#include "view/stored_config.h"
#include "view/zero3_files.h"
#include "view/zero3_share.h"
#include "zero/zero3_files.h"

namespace ckptfs::view {
namespace {

using pickle::Node;
using zero::State;
using zero::SubGroup;

/// Builds one rank's optimizer file. All that is indexed by sub-group is made anew; what a sub-group takes over from
/// the source comes from the first sub-group of its group there.
class Zero3OptimizerEdit {
 public:
    Zero3OptimizerEdit(const zero::Written& checkpoint, std::size_t family, const Zero3Target& target,
                       std::uint64_t rank, Template source)
        : family_(checkpoint.families[family]),
          content_(checkpoint.content.ranks[family]),
          sub_groups_(target.families[family]),
          target_(target),
          rank_(rank),
          source_(std::move(source)),
          editor_(source_.archive, source_.places),
          pickle_(editor_.pickle()),
          optimizer_(pickle::find(source_.archive->root(), "optimizer_state_dict")),
          inner_(pickle::find(optimizer_, "optimizer_state_dict")),
          first_in_source_(family_.groups.size()) {
        for (std::size_t k = family_.zero3->sub_groups.size(); k-- > 0;) {
            first_in_source_[family_.zero3->sub_groups[k].group] = k;
        }
    }

    Result<std::shared_ptr<const VirtualFile>> build(const std::string& file_name, std::shared_ptr<const void> owner) {
        CKPTFS_TRY(edit_states());
        CKPTFS_TRY(edit_param_groups());
        CKPTFS_TRY(edit_masters());
        CKPTFS_TRY(pickle_.set_item(optimizer_, "partition_count", count(target_.dp_world_size)));
        CKPTFS_TRY(store_sub_group_size(pickle_, source_.archive->root(), target_.sub_group_size));
        return editor_.lay_out(file_name, std::move(owner));
    }

 private:
    Result<const Node*> flat_tensor(const State& state, const SubGroup& sub_group, const Node* like_node) {
        CKPTFS_ASSIGN(const pt::TensorRef like, pt::tensor_ref(like_node));
        PieceList content;
        for (std::size_t p = sub_group.first; p < sub_group.first + sub_group.count; ++p) {
            append_share(state.elements(p), target_.dp_world_size, rank_, content);
        }
        const std::size_t storage =
            editor_.add_storage(state.form().dtype, sub_group.flat_numel, like.storage.location, std::move(content));
        return editor_.tensor(like, storage, 0, {sub_group.flat_numel});
    }

    Result<void> edit_masters() {
        const Node* masters = pickle::find(optimizer_, "fp32_flat_groups");
        std::vector<const Node*> tensors;
        for (const SubGroup& sub_group : sub_groups_) {
            const State master = State::master(content_.groups[sub_group.group], family_.groups[sub_group.group]);
            const Node* like = pickle::item(masters, first_in_source_[sub_group.group]);
            CKPTFS_ASSIGN(const Node* tensor, flat_tensor(master, sub_group, like));
            const Node* attributes = zero::attributes_with_ds_id(tensor);
            if (attributes != nullptr && !family_.zero3->ds_ids.empty() && sub_group.count > 0) {
                const std::vector<std::int64_t>& ids = family_.zero3->ds_ids[sub_group.group];
                const std::string id = std::to_string(ids[sub_group.first]) + "_" +
                                       std::to_string(ids[sub_group.first + sub_group.count - 1]);
                CKPTFS_TRY(pickle_.set_item(attributes, "ds_id", pickle_.string(id)));
            }
            tensors.push_back(tensor);
        }
        return pickle_.set_item(optimizer_, "fp32_flat_groups", pickle_.list(std::move(tensors)));
    }

    Result<void> edit_states() {
        const Node* state = pickle::find(inner_, "state");
        const pickle::DictIndex entries(state);
        std::vector<const Node*> items;
        for (std::size_t k = 0; k < sub_groups_.size(); ++k) {
            const SubGroup& sub_group = sub_groups_[k];
            const std::size_t source = first_in_source_[sub_group.group];
            const Node* entry = entries.find(static_cast<std::int64_t>(source));
            if (entry != nullptr) {
                CKPTFS_ASSIGN(const Node* edited, state_dict(entry, sub_group));
                items.insert(items.end(), {count(k), edited});
            }
        }
        CKPTFS_ASSIGN(const Node* filled, refilled(pickle_, state, std::move(items)));
        return pickle_.set_item(inner_, "state", filled);
    }

    Result<const Node*> state_dict(const Node* entry, const SubGroup& sub_group) {
        std::unordered_map<std::string_view, State> states;
        for (const State& state : zero::states_of(content_.groups[sub_group.group], family_.groups[sub_group.group])) {
            states.emplace(state.key(), state);
        }
        std::vector<const Node*> items;
        for (const auto& [key, value] : pickle::dict_items(entry)) {
            const auto state = states.find(key->text);
            if (state != states.end()) {
                CKPTFS_ASSIGN(const Node* tensor, flat_tensor(state->second, sub_group, value));
                items.insert(items.end(), {key, tensor});
            } else if (sub_group.first > 0 && pt::is_tensor(value)) {
                CKPTFS_ASSIGN(const Node* tensor, own_tensor(value));
                items.insert(items.end(), {key, tensor});
            } else {
                items.insert(items.end(), {key, value});
            }
        }
        return pickle_.dict(std::move(items));
    }

    // Optimizers step such a tensor in place: shared, it would count once for every sub-group.
    Result<const Node*> own_tensor(const Node* node) {
        CKPTFS_ASSIGN(const pt::TensorRef tensor, pt::tensor_ref(node));
        const pt::RecordPlace place = source_.places[*source_.archive->storage_index(tensor.storage.key)];
        PieceList content;
        content.add_source(place.file, place.offset, tensor.storage.numel * model::itemsize(tensor.storage.dtype));
        const std::size_t storage = editor_.add_storage(tensor.storage.dtype, tensor.storage.numel,
                                                        tensor.storage.location, std::move(content));
        return editor_.tensor_view(tensor, storage, tensor.offset_numel);
    }

    Result<void> edit_param_groups() {
        const Node* groups = pickle::find(inner_, "param_groups");
        std::vector<std::vector<const Node*>> numbers(family_.groups.size());
        for (std::size_t k = 0; k < sub_groups_.size(); ++k) {
            numbers[sub_groups_[k].group].push_back(count(k));
        }
        for (std::size_t g = 0; g < numbers.size(); ++g) {
            CKPTFS_TRY(pickle_.set_item(pickle::item(groups, g), "params", pickle_.list(std::move(numbers[g]))));
        }
        return {};
    }

    const Node* count(std::uint64_t value) { return pickle_.integer(static_cast<std::int64_t>(value)); }

    const zero::Family& family_;
    const model::Rank& content_;
    const std::vector<SubGroup>& sub_groups_;
    const Zero3Target& target_;
    std::uint64_t rank_;
    Template source_;
    pt::ArchiveEditor editor_;
    pickle::Editor& pickle_;
    const Node* optimizer_;
    const Node* inner_;
    std::vector<std::size_t> first_in_source_;  // by group: its first sub-group there
};

}  // namespace

Result<std::shared_ptr<const VirtualFile>> recut_zero3_optimizer_file(
    const std::shared_ptr<const zero::Written>& checkpoint, const Zero3Target& target, std::size_t family_index,
    std::uint64_t rank, const std::string& file_name) {
    const zero::Family& family = checkpoint->families[family_index];
    CKPTFS_ASSIGN(Template source, template_of(family.optimizer[checkpoint->optimizer_template(rank)]));
    return Zero3OptimizerEdit(*checkpoint, family_index, target, rank, std::move(source)).build(file_name, checkpoint);
}

}  // namespace ckptfs::view
