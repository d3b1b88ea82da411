// Edits a rank's optimizer file into one of another world size.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pt/archive_editor.h"
#include "view/dict_edit.h"
#include "view/partition_content.h"
#include "view/rank_template.h"
#include "view/stored_config.h"
#include "view/zero12_files.h"

namespace ckptfs::view {
namespace {

using pickle::Kind;
using pickle::Node;
using zero::FlatLayout;
using zero::Format;
using zero::State;

constexpr std::string_view optimizer_key = "optimizer_state_dict";

/// Builds one rank's optimizer file.
class OptimizerEdit {
 public:
    OptimizerEdit(const zero::Written& checkpoint, const TargetLayout& target, std::size_t family, std::uint64_t rank,
                  Template base)
        : checkpoint_(checkpoint),
          family_(checkpoint.families[family]),
          content_(checkpoint.content.ranks[family]),
          target_(target),
          layouts_(target.families[family]),
          rank_(rank),
          location_(family_.optimizer[rank % checkpoint.dp_world_size].location),
          root_(base.archive->root()),
          editor_(base.archive, std::move(base.places)),
          pickle_(editor_.pickle()),
          optimizer_(pickle::find(root_, optimizer_key)) {}

    Result<std::shared_ptr<const VirtualFile>> build(const std::string& file_name, std::shared_ptr<const void> owner) {
        CKPTFS_TRY(edit_masters());
        CKPTFS_TRY(edit_states());
        CKPTFS_TRY(edit_paddings());
        CKPTFS_TRY(edit_partition_count());
        CKPTFS_TRY(edit_slice_mappings());
        CKPTFS_TRY(store_target_rules(pickle_, root_, target_));
        return editor_.lay_out(file_name, std::move(owner));
    }

 private:
    [[nodiscard]] std::uint64_t padding(const FlatLayout& layout) const {
        return checkpoint_.format == Format::bf16_optimizer ? group_padding_bf16_optimizer(layout, rank_)
                                                            : group_padding(layout, rank_);
    }

    // A partition of `layout`, of which the tensor shows the first `visible_numel` elements.
    Result<const Node*> partition_tensor(const State& state, const FlatLayout& layout, std::uint64_t visible_numel) {
        const std::uint64_t numel = layout.partition_numel;
        return flat_tensor(state, numel, visible_numel, flat_content(state, layout, rank_ * numel, numel));
    }

    Result<const Node*> flat_tensor(const State& state, std::uint64_t numel, std::uint64_t visible_numel,
                                    PieceList content) {
        CKPTFS_ASSIGN(const pt::TensorRef like, pt::tensor_ref(state.form().example));
        // What lay on the device of its rank's partitions lies on this rank's device.
        const bool with_partitions = like.storage.location == family_.optimizer[state.form().example_rank].location;
        const std::string_view location = with_partitions ? location_ : like.storage.location;
        const std::size_t storage = editor_.add_storage(state.form().dtype, numel, location, std::move(content));
        return editor_.tensor(like, storage, 0, {visible_numel});
    }

    Result<void> edit_masters() {
        std::vector<const Node*> tensors;
        for (std::size_t g = 0; g < layouts_.size(); ++g) {
            const FlatLayout& layout = layouts_[g];
            const bool lean = checkpoint_.format != Format::bf16_optimizer;
            CKPTFS_ASSIGN(const Node* tensor,
                          partition_tensor(State::master(content_.groups[g], family_.groups[g]), layout,
                                           lean ? layout.used_numel(rank_) : layout.partition_numel));
            tensors.push_back(tensor);
        }
        return set_list("single_partition_of_fp32_groups", std::move(tensors));
    }

    Result<void> edit_states() {
        const Node* base = pickle::find(optimizer_, "base_optimizer_state");
        if (checkpoint_.format == Format::zero12_elastic) {
            for (std::size_t g = 0; g < layouts_.size(); ++g) {
                const Node* entry = pickle::item(base, g);
                CKPTFS_ASSIGN(const Node* edited, state_dict(entry, g));
                pickle_.replace(entry, edited);
            }
            return {};
        }
        const Node* state = pickle::find(base, "state");
        const Node* param_groups = pickle::find(base, "param_groups");
        const pickle::DictIndex entries(state);
        std::vector<const Node*> added;
        for (std::size_t g = 0; g < layouts_.size(); ++g) {
            const Node* id = pickle::item(pickle::find(pickle::item(param_groups, g), "params"), 0);
            if (id == nullptr) {
                return changed_since_read("param_groups has no params for group " + std::to_string(g));
            }
            const Node* entry = entries.find(id->integer);
            if (entry == nullptr && !(family_.groups[g].has_state && has_state(g))) {
                continue;
            }
            CKPTFS_ASSIGN(const Node* edited, state_dict(entry, g));
            if (entry != nullptr) {
                pickle_.replace(entry, edited);
            } else {
                added.insert(added.end(), {pickle_.integer(id->integer), edited});
            }
        }
        if (added.empty()) {
            return {};
        }
        std::vector<const Node*> items;
        for (const auto& [id, entry] : pickle::dict_items(state)) {
            items.insert(items.end(), {id, entry});
        }
        items.insert(items.end(), added.begin(), added.end());
        CKPTFS_ASSIGN(const Node* filled, refilled(pickle_, state, std::move(items)));
        pickle_.replace(state, filled);
        return {};
    }

    [[nodiscard]] std::vector<State> states_of(std::size_t g) const {
        return zero::states_of(content_.groups[g], family_.groups[g]);
    }

    [[nodiscard]] bool is_whole(const State& state) const {
        const bool in_source = state.form().whole_parameters;
        return state.form().muon_momentum ? target_.whole_momentum.value_or(in_source) : in_source;
    }

    // A rank whose partition no Muon parameter touches has no momentum, and natively may have no entry at all.
    [[nodiscard]] bool has_state(std::size_t g) const {
        const std::vector<State> states = states_of(g);
        return std::any_of(states.begin(), states.end(), [&](const State& state) {
            return !is_whole(state) || whole_content(state, layouts_[g], rank_).nbytes() > 0;
        });
    }

    // `entry` may be nullptr: a rank without state serves as the template of one that has some.
    Result<const Node*> state_dict(const Node* entry, std::size_t g) {
        const pickle::DictIndex values(entry);
        std::unordered_map<std::string_view, State> states;
        std::vector<State> missing;
        for (const State& state : states_of(g)) {
            states.emplace(state.key(), state);
            if (values.find(state.key()) == nullptr) {
                missing.push_back(state);
            }
        }
        std::vector<const Node*> items;
        for (const auto& [key, value] : pickle::dict_items(entry)) {
            const auto state = states.find(key->text);
            if (state == states.end()) {
                items.insert(items.end(), {key, value});
            } else {
                CKPTFS_TRY(add_state(state->second, layouts_[g], key, items));
            }
        }
        for (const State& state : missing) {
            CKPTFS_TRY(add_state(state, layouts_[g], pickle_.string(std::string(state.key())), items));
        }
        return pickle_.dict(std::move(items));
    }

    Result<void> add_state(const State& state, const FlatLayout& layout, const Node* key,
                           std::vector<const Node*>& items) {
        if (!is_whole(state)) {
            const bool lean = checkpoint_.format == Format::zero12_elastic;
            CKPTFS_ASSIGN(const Node* tensor,
                          partition_tensor(state, layout, lean ? layout.used_numel(rank_) : layout.partition_numel));
            items.insert(items.end(), {key, tensor});
            return {};
        }
        PieceList content = whole_content(state, layout, rank_);
        const std::uint64_t numel = content.nbytes() / model::itemsize(state.form().dtype);
        if (numel > 0) {
            CKPTFS_ASSIGN(const Node* tensor, flat_tensor(state, numel, numel, std::move(content)));
            items.insert(items.end(), {key, tensor});
        }
        return {};
    }

    Result<void> edit_paddings() {
        if (pickle::find(optimizer_, "group_paddings") != nullptr) {
            std::vector<const Node*> paddings;
            for (const FlatLayout& layout : layouts_) {
                paddings.push_back(count(padding(layout)));
            }
            CKPTFS_TRY(set_list("group_paddings", std::move(paddings)));
        }
        const bool aligned =
            std::any_of(layouts_.begin(), layouts_.end(), [](const FlatLayout& l) { return l.aligned(); });
        const bool present = pickle::find(optimizer_, "param_alignment_paddings") != nullptr;
        if (!present && !aligned) {
            return {};
        }
        std::vector<const Node*> groups;
        for (const FlatLayout& layout : layouts_) {
            std::vector<const Node*> numels;
            for (const std::uint64_t numel : layout.alignment_after) {
                numels.push_back(count(numel));
            }
            groups.push_back(pickle_.list(std::move(numels)));
        }
        // An engine with alignment takes a file without this key for one without alignment.
        return set_or_add(pickle_, optimizer_, "param_alignment_paddings", pickle_.list(std::move(groups)));
    }

    Result<void> edit_partition_count() {
        if (pickle::find(optimizer_, "partition_count") == nullptr) {
            return {};
        }
        std::vector<const Node*> counts;
        for (const FlatLayout& layout : layouts_) {
            counts.push_back(count(layout.world_size));
        }
        return set_list("partition_count", std::move(counts));
    }

    Result<void> edit_slice_mappings() {
        const Node* mappings = pickle::find(optimizer_, "param_slice_mappings");
        if (mappings == nullptr || mappings->kind != Kind::list || mappings->items.size() != layouts_.size()) {
            return {};
        }
        CKPTFS_ASSIGN(const Node* address, example_address());
        if (address == nullptr) {
            return {};
        }
        std::vector<const Node*> groups;
        for (std::size_t g = 0; g < layouts_.size(); ++g) {
            std::vector<const Node*> items;
            for (const zero::Fragment& fragment : slice_mapping(layouts_[g], rank_)) {
                items.push_back(pickle_.string(content_.groups[g].parameters[fragment.parameter].name));
                CKPTFS_ASSIGN(const Node* edited, fragment_address(address, fragment));
                items.push_back(edited);
            }
            CKPTFS_ASSIGN(const Node* filled, refilled(pickle_, pickle::item(mappings, g), std::move(items)));
            groups.push_back(filled);
        }
        return set_list("param_slice_mappings", std::move(groups));
    }

    // Any rank's fragment_address: its class moved between modules over DeepSpeed's versions.
    Result<const Node*> example_address() {
        for (const zero::RankFile& file : family_.optimizer) {
            CKPTFS_ASSIGN(const Template tree, template_of(file));
            const Node* mappings =
                pickle::find(pickle::find(tree.archive->root(), optimizer_key), "param_slice_mappings");
            for (const Node* group : mappings == nullptr ? std::vector<const Node*>() : mappings->items) {
                const auto entries = pickle::dict_items(group);
                if (!entries.empty() && pickle::is_dict_like(pickle::state_of(entries.front().second))) {
                    address_tree_ = tree.archive;
                    return entries.front().second;
                }
            }
        }
        return static_cast<const Node*>(nullptr);
    }

    Result<const Node*> fragment_address(const Node* like, const zero::Fragment& fragment) {
        std::vector<const Node*> fields;
        for (const auto& [key, value] : pickle::dict_items(pickle::state_of(like))) {
            const bool is_numel = pickle::is_string(key, "numel");
            const bool is_start = pickle::is_string(key, "start");
            fields.insert(fields.end(), {key, is_numel   ? count(fragment.numel)
                                              : is_start ? count(fragment.start_numel)
                                                         : value});
        }
        Node* address = pickle_.copy(like);
        for (pickle::Mutation& mutation : address->mutations) {
            if (mutation.kind == pickle::Mutation::Kind::build) {
                mutation.items = {pickle_.dict(fields)};
            }
        }
        return address;
    }

    const Node* count(std::uint64_t value) { return pickle_.integer(static_cast<std::int64_t>(value)); }

    Result<void> set_list(std::string_view key, std::vector<const Node*> items) {
        return pickle_.set_item(optimizer_, key, pickle_.list(std::move(items)));
    }

    const zero::Written& checkpoint_;
    const zero::Family& family_;
    const model::Rank& content_;
    const TargetLayout& target_;
    const std::vector<FlatLayout>& layouts_;
    std::uint64_t rank_;
    std::string_view location_;
    const Node* root_;
    std::shared_ptr<const pt::Archive> address_tree_;  // that example_address() hangs in
    pt::ArchiveEditor editor_;
    pickle::Editor& pickle_;
    const Node* optimizer_;
};

}  // namespace

Result<std::shared_ptr<const VirtualFile>> recut_optimizer_file(const std::shared_ptr<const zero::Written>& checkpoint,
                                                                const TargetLayout& target, std::size_t family,
                                                                std::uint64_t rank, const std::string& file_name) {
    const std::vector<zero::RankFile>& files = checkpoint->families[family].optimizer;
    CKPTFS_ASSIGN(Template base, template_of(files[checkpoint->optimizer_template(rank)]));
    return OptimizerEdit(*checkpoint, target, family, rank, std::move(base)).build(file_name, checkpoint);
}

}  // namespace ckptfs::view
