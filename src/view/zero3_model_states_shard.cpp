// Edits a rank's stage-3 model states into those of another world size.
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pt/archive_editor.h"
#include "view/dict_edit.h"
#include "view/rank_template.h"
#include "view/stored_config.h"
#include "view/zero3_files.h"
#include "view/zero3_share.h"

namespace ckptfs::view {
namespace {

using pickle::Node;

// param_shapes lists each sub-group in flat order.
Result<void> edit_param_shapes(pickle::Editor& pickle, const Node* root, const model::Rank& rank,
                               const std::vector<zero::SubGroup>& sub_groups) {
    const Node* shapes = pickle::find(root, "param_shapes");
    std::unordered_map<std::string_view, std::pair<const Node*, const Node*>> entries;
    std::size_t index = 0;
    for (const Node* list = pickle::item(shapes, 0); list != nullptr; list = pickle::item(shapes, ++index)) {
        for (const auto& [name, shape] : pickle::dict_items(list)) {
            entries.insert_or_assign(name->text, std::pair(name, shape));
        }
    }
    std::vector<const Node*> lists;
    for (const zero::SubGroup& sub_group : sub_groups) {
        std::vector<const Node*> items;
        for (std::size_t p = sub_group.first; p < sub_group.first + sub_group.count; ++p) {
            const std::string& name = rank.groups[sub_group.group].parameters[p].name;
            const auto entry = entries.find(name);
            if (entry == entries.end()) {
                return changed_since_read("param_shapes has no " + name);
            }
            items.insert(items.end(), {entry->second.first, entry->second.second});
        }
        CKPTFS_ASSIGN(const Node* list, refilled(pickle, pickle::item(shapes, 0), std::move(items)));
        lists.push_back(list);
    }
    return pickle.set_item(root, "param_shapes", pickle.list(std::move(lists)));
}

Result<void> edit_frozen(pt::ArchiveEditor& editor, const Node* root, const zero::Family& family,
                         const Zero3Target& target, std::uint64_t rank) {
    const pickle::DictIndex fragments(pickle::find(root, "frozen_param_fragments"));
    for (const zero::FrozenFragments& frozen : family.zero3->frozen) {
        const Node* node = fragments.find(frozen.parameter.name);
        CKPTFS_ASSIGN(const pt::TensorRef like, pt::tensor_ref(node));
        const std::uint64_t numel = zero::partition_numel(frozen.parameter.numel, target.dp_world_size);
        PieceList content;
        append_share(*frozen.parameter.weight, target.dp_world_size, rank, content);
        const std::size_t storage =
            editor.add_storage(frozen.parameter.weight->dtype(), numel, like.storage.location, std::move(content));
        editor.pickle().replace(node, editor.tensor(like, storage, 0, {numel}));
    }
    return {};
}

}  // namespace

Result<std::shared_ptr<const VirtualFile>> recut_model_states_shard(
    const std::shared_ptr<const zero::Written>& checkpoint, const Zero3Target& target, std::size_t family_index,
    std::uint64_t rank, const std::string& file_name) {
    const zero::Family& family = checkpoint->families[family_index];
    const std::uint64_t source_rank = rank % checkpoint->dp_world_size;
    CKPTFS_ASSIGN(const Template source, template_of(family.model_states_of_ranks()[source_rank]));
    pt::ArchiveEditor editor(source.archive, source.places);
    pickle::Editor& pickle = editor.pickle();
    const Node* root = source.archive->root();
    const std::vector<zero::SubGroup>& sub_groups = target.families[family_index];
    if (!sub_groups.empty()) {
        CKPTFS_TRY(edit_param_shapes(pickle, root, checkpoint->content.ranks[family_index], sub_groups));
    }
    CKPTFS_TRY(edit_frozen(editor, root, family, target, rank));
    // Only rank 0 lists the tied names (engine.py _get_shared_params).
    const Node* shared = pickle::find(root, "shared_params");
    if (rank > 0 && source_rank == 0 && pickle::is_dict_like(shared)) {
        CKPTFS_ASSIGN(const Node* empty, refilled(pickle, shared, {}));
        CKPTFS_TRY(pickle.set_item(root, "shared_params", empty));
    }
    CKPTFS_TRY(pickle.set_item(root, "dp_world_size", pickle.integer(static_cast<std::int64_t>(target.dp_world_size))));
    CKPTFS_TRY(store_sub_group_size(pickle, root, target.sub_group_size));
    return editor.lay_out(file_name, checkpoint);
}

}  // namespace ckptfs::view
