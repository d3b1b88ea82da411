// Takes an optimizer file apart; the fields are those of stage_1_and_2.py and bf16_optimizer.py state_dict().
#include "zero/optimizer_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "zero/mixed_saves.h"
#include "zero/refusal.h"
#include "zero/scalar.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

// Of ZeroStageEnum, by value.
constexpr std::array<std::string_view, 4> stage_names = {"disabled", "optimizer_states", "gradients", "weights"};

// Of all storages that hang anywhere below `node`. Without recursion: a hostile tree is as deep as it likes.
Result<std::uint64_t> largest_storage(const Node* node) {
    std::uint64_t numel = 0;
    std::unordered_set<const Node*> seen;
    std::vector<const Node*> open{node};
    while (!open.empty()) {
        const Node* at = open.back();
        open.pop_back();
        if (!seen.insert(at).second) {
            continue;
        }
        if (at->kind == Kind::persistent_id) {
            CKPTFS_ASSIGN(const pt::StorageRef storage, pt::storage_ref(at));
            numel = std::max(numel, storage.numel);
        }
        open.insert(open.end(), at->items.begin(), at->items.end());
        for (const pickle::Mutation& mutation : at->mutations) {
            open.insert(open.end(), mutation.items.begin(), mutation.items.end());
        }
    }
    return numel;
}

Result<std::vector<Field>> state_dicts(const Field& base, std::size_t group_count) {
    std::vector<Field> dicts(group_count);
    if (base.node->kind == Kind::list) {
        CKPTFS_ASSIGN(std::vector<Field> list, base.as_list());
        if (list.size() != group_count) {
            return base.place.damaged("one entry for each of the " + std::to_string(group_count) + " parameter groups");
        }
        return list;
    }
    CKPTFS_ASSIGN(const Field groups, base.at("param_groups"));
    CKPTFS_ASSIGN(const std::vector<Field> param_groups, groups.as_list());
    CKPTFS_ASSIGN(const Field state, base.at("state"));
    CKPTFS_TRY(state.expect_dict());
    if (param_groups.size() != group_count) {
        return groups.place.damaged(std::to_string(group_count) + " groups, as many as fp32 partitions");
    }
    const pickle::DictIndex entries(state.node);
    for (std::size_t g = 0; g < group_count; ++g) {
        CKPTFS_ASSIGN(const Field params, param_groups[g].at("params"));
        CKPTFS_ASSIGN(const std::vector<Field> ids, params.as_list());
        if (ids.size() != 1) {
            return params.place.damaged("one flat parameter for the group");
        }
        CKPTFS_ASSIGN(const std::uint64_t id, ids.front().as_count());
        const Node* entry = entries.find(static_cast<std::int64_t>(id));
        dicts[g] = {entry, state.place.in(static_cast<std::size_t>(id))};
    }
    return dicts;
}

bool is_true(const Node* node) {
    return node != nullptr && node->kind == Kind::boolean && node->integer != 0;
}

Result<void> read_param_groups(const Field& base, const std::string& path, std::vector<GroupEntry>& groups) {
    const Node* param_groups = pickle::find(base.node, "param_groups");
    for (std::size_t g = 0; param_groups != nullptr && g < groups.size(); ++g) {
        const Node* group = pickle::item(param_groups, g);
        if (is_true(pickle::find(group, "moe"))) {
            return refuse(Refusal::mixture_of_experts, path, "parameter group " + std::to_string(g) + " has moe: True");
        }
        groups[g].use_muon = is_true(pickle::find(group, "use_muon"));
        groups[g].step = number_of(pickle::find(group, "step"));
    }
    return {};
}

Result<void> read_states(const Field& base, const pt::Archive& archive, std::vector<GroupEntry>& groups) {
    CKPTFS_ASSIGN(const std::vector<Field> dicts, state_dicts(base, groups.size()));
    for (std::size_t g = 0; g < groups.size(); ++g) {
        if (dicts[g].node == nullptr) {
            continue;
        }
        groups[g].has_state = true;
        CKPTFS_ASSIGN(groups[g].states, read_entries(dicts[g], archive));
    }
    return {};
}

Result<void> read_paddings(const Field& optimizer, OptimizerFile& out) {
    if (const Node* node = pickle::find(optimizer.node, "group_paddings")) {
        CKPTFS_ASSIGN(const std::vector<Field> list, (Field{node, optimizer.place.in("group_paddings")}.as_list()));
        if (list.size() != out.groups.size()) {
            return optimizer.place.in("group_paddings").damaged("one padding for each group");
        }
        for (std::size_t g = 0; g < list.size(); ++g) {
            CKPTFS_ASSIGN(out.groups[g].padding_numel, list[g].as_count());
        }
    }
    if (const Node* node = pickle::find(optimizer.node, "param_alignment_paddings")) {
        CKPTFS_ASSIGN(const std::vector<Field> list,
                      (Field{node, optimizer.place.in("param_alignment_paddings")}.as_list()));
        auto& paddings = out.alignment_paddings.emplace();
        for (const Field& group : list) {
            CKPTFS_ASSIGN(const std::vector<Field> numels, group.as_list());
            auto& row = paddings.emplace_back();
            for (const Field& numel : numels) {
                CKPTFS_ASSIGN(const std::uint64_t value, numel.as_count());
                row.push_back(value);
            }
        }
    }
    return {};
}

void read_slices(const Node* mappings, std::vector<GroupEntry>& groups) {
    if (mappings == nullptr || mappings->kind != Kind::list || mappings->items.size() != groups.size()) {
        return;  // files before 0.7.4 have none
    }
    for (std::size_t g = 0; g < groups.size(); ++g) {
        for (const auto& [name, address] : pickle::dict_items(pickle::item(mappings, g))) {
            groups[g].slices.push_back(name->text);
        }
    }
}

Result<void> check_partition_count(const Field& optimizer, std::uint64_t world_size) {
    const Node* node = pickle::find(optimizer.node, "partition_count");
    if (node == nullptr) {
        return {};
    }
    const Field field{node, optimizer.place.in("partition_count")};
    CKPTFS_ASSIGN(const std::vector<Field> counts, field.as_list());
    for (const Field& count : counts) {
        CKPTFS_ASSIGN(const std::uint64_t value, count.as_count());
        if (value != world_size) {
            return mixed_saves(field.place.file + ": " + field.place.field + ": this file was written by " +
                               std::to_string(value) + " ranks, but the model states say dp_world_size " +
                               std::to_string(world_size));
        }
    }
    return {};
}

}  // namespace

std::optional<double> number_of(const Node* node) {
    if (node != nullptr && node->kind == Kind::integer) {
        return static_cast<double>(node->integer);
    }
    return node != nullptr && node->kind == Kind::real ? std::optional(node->real) : std::nullopt;
}

Result<StateEntry> read_entry(std::string key, const Field& field, const pt::Archive& archive) {
    StateEntry entry;
    entry.key = std::move(key);
    entry.node = field.node;
    entry.tensor = pt::is_tensor(field.node);
    if (!entry.tensor) {
        entry.number = number_of(field.node);
        CKPTFS_ASSIGN(entry.held_numel, largest_storage(field.node));
        return entry;
    }
    auto tensor = pt::tensor_ref(field.node);
    if (!tensor) {
        return tensor.error().within(field.place.file + ": " + field.place.field);
    }
    const auto index = archive.storage_index(tensor->storage.key);
    if (!index || !tensor->contiguous()) {
        return field.place.damaged("a contiguous tensor");
    }
    const pt::RecordPlace& place = archive.storages()[*index].place;
    entry.dimensions = tensor->sizes.size();
    entry.dtype = tensor->storage.dtype;
    entry.storage = *index;
    entry.storage_offset = tensor->offset_numel * model::itemsize(entry.dtype);
    entry.shard = {place.file, place.offset + entry.storage_offset, tensor->numel()};
    return entry;
}

StateEntries::StateEntries(std::vector<StateEntry> entries) {
    std::unordered_map<std::string, std::size_t> known;
    for (StateEntry& entry : entries) {
        const auto [place, is_new] = known.try_emplace(entry.key, entries_.size());
        if (is_new) {
            by_key_.push_back(entries_.size());
            entries_.push_back(std::move(entry));
        } else {
            entries_[place->second] = std::move(entry);
        }
    }
    std::sort(by_key_.begin(), by_key_.end(),
              [this](std::size_t a, std::size_t b) { return entries_[a].key < entries_[b].key; });
}

const StateEntry* StateEntries::find(std::string_view key) const {
    const auto found =
        std::lower_bound(by_key_.begin(), by_key_.end(), key,
                         [this](std::size_t index, std::string_view k) { return entries_[index].key < k; });
    return found != by_key_.end() && entries_[*found].key == key ? &entries_[*found] : nullptr;
}

Result<StateEntries> read_entries(const Field& dict, const pt::Archive& archive) {
    CKPTFS_TRY(dict.expect_dict());
    std::vector<StateEntry> entries;
    for (const auto& [key, value] : pickle::dict_items(dict.node)) {
        if (key->kind != Kind::string) {
            return dict.place.damaged("state names that are strings");
        }
        if (key->text == "worker_error" || key->text == "server_error") {
            return refuse(Refusal::one_bit_optimizer, dict.place.file, "state '" + key->text + "'");
        }
        CKPTFS_ASSIGN(StateEntry entry, read_entry(key->text, {value, dict.place.in(key->text)}, archive));
        entries.push_back(std::move(entry));
    }
    return StateEntries(std::move(entries));
}

Result<int> read_stage(const Field& field) {
    const Node* value = field.node;
    if (value->kind == Kind::object) {
        const Node* arguments = pickle::item(value, 1);
        const Node* name = pickle::item(arguments, 1);
        if (name != nullptr && name->kind == Kind::string) {
            const auto* const found = std::find(stage_names.begin(), stage_names.end(), name->text);
            if (found != stage_names.end()) {
                return static_cast<int>(found - stage_names.begin());
            }
        }
        value = pickle::item(arguments, 0);
    }
    if (value == nullptr || value->kind != Kind::integer || value->integer < 0 ||
        static_cast<std::size_t>(value->integer) >= stage_names.size()) {
        return field.place.damaged("the stage, a whole number up to 3 or a ZeroStageEnum");
    }
    return static_cast<int>(value->integer);
}

OptimizerFile in_another_file(const OptimizerFile& file, const pt::RecordPlaces& places) {
    OptimizerFile other = file;
    const auto move = [&places](StateEntry& entry) {
        if (entry.tensor) {
            entry.shard.file = places[entry.storage].file;
            entry.shard.offset = places[entry.storage].offset + entry.storage_offset;
        }
    };
    for (GroupEntry& group : other.groups) {
        move(group.master);
        for (StateEntry& state : group.states) {
            move(state);
        }
    }
    return other;
}

Result<OptimizerFile> read_optimizer_file(std::shared_ptr<const pt::Archive> archive, std::uint64_t world_size) {
    OptimizerFile out;
    out.archive = std::move(archive);
    const std::string& path = out.archive->file()->name();
    const Field root{out.archive->root(), {path, ""}};
    if (!pickle::is_dict_like(root.node)) {
        return Place{path, "its top level"}.damaged("a dict");
    }
    CKPTFS_ASSIGN(const Field optimizer, root.at("optimizer_state_dict"));
    CKPTFS_TRY(optimizer.expect_dict());
    if (pickle::find(optimizer.node, "ds_zero_partition_groups") != nullptr) {
        return refuse(Refusal::mixture_of_experts, path, "automatic expert parallelism: ds_zero_partition_groups");
    }
    if (pickle::find(optimizer.node, "fp32_flat_groups") != nullptr) {
        return Place{path, "fp32_flat_groups"}.inconsistent(
            "this file is of stage 3, the model states are not; two saves lie in one directory: restore the files of "
            "one");
    }
    CKPTFS_TRY(check_partition_count(optimizer, world_size));
    CKPTFS_ASSIGN(const Field masters, optimizer.at("single_partition_of_fp32_groups"));
    CKPTFS_ASSIGN(const std::vector<Field> master_list, masters.as_list());
    CKPTFS_ASSIGN(const Field base, optimizer.at("base_optimizer_state"));

    const Node* zero_stage = pickle::find(optimizer.node, "zero_stage");
    out.stage = 1;  // of BF16_Optimizer, which does not say it
    if (zero_stage != nullptr) {
        CKPTFS_ASSIGN(out.stage, read_stage({zero_stage, optimizer.place.in("zero_stage")}));
    }
    out.format = zero_stage == nullptr           ? Format::bf16_optimizer
                 : base.node->kind == Kind::list ? Format::zero12_elastic
                                                 : Format::zero12;
    if (const Node* version = pickle::find(optimizer.node, "ds_version");
        version != nullptr && version->kind == Kind::string) {
        out.deepspeed_version = version->text;
    }
    for (const Field& master : master_list) {
        CKPTFS_ASSIGN(StateEntry entry, read_entry("fp32", master, *out.archive));
        if (!entry.tensor || entry.dimensions != 1) {
            return master.place.damaged("a flat tensor");
        }
        CKPTFS_ASSIGN(const pt::TensorRef tensor, pt::tensor_ref(master.node));
        out.location = tensor.storage.location;
        out.groups.emplace_back().master = std::move(entry);
    }
    CKPTFS_TRY(read_states(base, *out.archive, out.groups));
    CKPTFS_TRY(read_param_groups(base, path, out.groups));
    CKPTFS_TRY(read_paddings(optimizer, out));
    read_slices(pickle::find(optimizer.node, "param_slice_mappings"), out.groups);
    out.elastic_step = number_of(pickle::find(optimizer.node, "base_optimizer_state_step"));
    CKPTFS_ASSIGN(out.values, optimizer_values(root, optimizer, base, *out.archive));
    for (std::size_t g = 0; g < out.groups.size(); ++g) {
        const GroupEntry& group = out.groups[g];
        // Partitions have two elements at least, but for those of the elastic form, and for Muon's momentum.
        const bool may_be_short = out.format == Format::zero12_elastic || group.use_muon;
        CKPTFS_TRY(add_state_values(g, group.states, may_be_short ? 1 : 0, *out.archive, out.values));
    }
    return out;
}

Result<std::string> OptimizerFile::skeleton() const {
    constexpr std::array<std::string_view, 5> by_rank{"single_partition_of_fp32_groups", "group_paddings",
                                                      "param_slice_mappings", "partition_count",
                                                      "param_alignment_paddings"};
    pickle::Editor editor(archive->tree());
    const Node* optimizer = pickle::find(editor.root(), "optimizer_state_dict");
    for (const std::string_view key : by_rank) {
        if (const Node* value = pickle::find(optimizer, key)) {
            editor.replace(value, editor.none());
        }
    }
    for (const GroupEntry& group : groups) {
        for (const StateEntry& state : group.states) {
            // A single element may turn out to be a scalar that every rank keeps, on a device of its own.
            if (state.tensor && state.dimensions > 0 && state.shard.numel != 1) {
                editor.replace(state.node, editor.none());
            }
        }
    }
    return editor.write();
}

void OptimizerFile::forget_tree() {
    for (GroupEntry& group : groups) {
        group.master.node = nullptr;
        for (StateEntry& state : group.states) {
            state.node = nullptr;
        }
    }
    archive.reset();
}

Result<std::optional<double>> scalar_value(const StateEntry& entry) {
    if (!entry.tensor || entry.shard.numel != 1) {
        return entry.number;
    }
    std::array<std::byte, 8> bytes{};
    const std::size_t nbytes = model::itemsize(entry.dtype);
    if (nbytes > bytes.size()) {
        return std::optional<double>();
    }
    CKPTFS_TRY(entry.shard.file->read(entry.shard.offset, std::span(bytes).first(nbytes)));
    return decode_number(entry.dtype, std::span<const std::byte>(bytes).first(nbytes));
}

std::string step_text(const std::optional<double>& step) {
    if (!step) {
        return "none";
    }
    constexpr double largest = 1e15;
    const bool whole = *step >= 0 && *step < largest && *step == std::floor(*step);
    return whole ? std::to_string(static_cast<std::uint64_t>(*step)) : std::to_string(*step);
}

}  // namespace ckptfs::zero
