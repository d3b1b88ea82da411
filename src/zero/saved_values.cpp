// Collects values from pickled trees and compares them.
#include "zero/saved_values.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

#include "zero/mixed_saves.h"
#include "zero/optimizer_file.h"
#include "zero/scalar.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

// What torch.optim (2.13), DeepSpeed's optimizers and learning-rate schedules put into param_groups, and what their
// states count or compute from the number of steps. `k` is how Prodigy and D-Adaptation count steps. Not here: `d`,
// which is a setting of torch's Adafactor, but the estimate of Prodigy and D-Adaptation.
constexpr auto keys_of_save = std::to_array<std::string_view>({
    "adjust_lr_fn",
    "alpha",
    "amsgrad",
    "base_momentum",
    "beta2_decay",
    "betas",
    "bias_correction",
    "capturable",
    "centered",
    "dampening",
    "decoupled_weight_decay",
    "differentiable",
    "eps",
    "eta",
    "etas",
    "foreach",
    "fused",
    "history_size",
    "initial_accumulator_value",
    "initial_lr",
    "k",
    "lambd",
    "line_search_fn",
    "lr",
    "lr_decay",
    "max_coeff",
    "max_eval",
    "max_grad_norm",
    "max_iter",
    "max_lr",
    "max_momentum",
    "maximize",
    "min_coeff",
    "min_lr",
    "momentum",
    "momentum_decay",
    "mu",
    "mu_product",
    "name",
    "nesterov",
    "ns_coefficients",
    "ns_method",
    "ns_steps",
    "param_names",
    "rho",
    "step",
    "step_sizes",
    "t0",
    "tolerance_change",
    "tolerance_grad",
    "use_muon",
    "weight_decay",
});
static_assert(std::is_sorted(keys_of_save.begin(), keys_of_save.end()));

// Numbers of a rank's partition that the optimizer makes anew in each step before it uses them, so that any will do:
// `RMS` of Adafactor as transformers (5.24, optimization.py) and fairseq have it, the norm of the partition.
constexpr auto keys_made_anew = std::to_array<std::string_view>({"RMS"});

constexpr auto model_states_keys = std::to_array<std::string_view>({
    "lr_scheduler",
    "random_ltd",
    "skipped_steps",
    "global_steps",
    "global_samples",
    "dp_world_size",
    "mp_world_size",
    "ds_version",
    "checkpoint_parallel_dimensions",
});
constexpr auto optimizer_keys = std::to_array<std::string_view>({
    "loss_scaler",
    "dynamic_loss_scale",
    "overflow",
    "clip_grad",
    "base_optimizer_state_step",
    "ds_version",
});
// What ReduceLROnPlateau keeps of the metric that it was given, which may be the rank's own.
constexpr auto metric_keys = std::to_array<std::string_view>({"best", "num_bad_epochs", "cooldown_counter"});

template <std::size_t n>
bool contains(const std::array<std::string_view, n>& keys, std::string_view key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// A hostile tree is deep, or wide by references to the same nodes. Beyond these bounds values are not told apart.
constexpr int max_depth = 24;
constexpr std::size_t file_budget_nbytes = std::size_t{16} << 20U;
constexpr std::size_t state_budget_nbytes = std::size_t{1} << 10U;  // for each of its entries
constexpr std::size_t value_nbytes = 128;                           // what one costs apart from its texts
constexpr std::size_t max_stored_nbytes = 4096;                     // read of one tensor

std::string hexadecimal(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text = "0x";
    for (const char byte : bytes) {
        const auto value = static_cast<unsigned char>(byte);
        text += digits[value >> 4U];
        text += digits[value & 0xfU];
    }
    return text;
}

/// Collects the values of one file.
class Collector {
 public:
    Collector(const pt::Archive& archive, SavedValues& out, std::size_t budget_nbytes = file_budget_nbytes)
        : archive_(archive), out_(out), budget_nbytes_(budget_nbytes) {}

    /// Everything below `field`: dicts and objects with a dict of attributes value by value, lists as one.
    Result<void> add(const Field& field, const SavedValue& like, int depth = max_depth) {
        if (!spend(field.place.field.size())) {
            return {};
        }
        const Node* node = field.node;
        const Node* attributes = pickle::state_of(node);
        const Node* dict = pickle::is_dict_like(node) ? node : attributes;
        if (pt::is_tensor(node)) {
            return add_tensor(field, like);
        }
        if (!pickle::is_dict_like(dict)) {
            CKPTFS_TRY(add_tensors_in(field, like, depth));
            SavedValue value = like;
            value.field = field.place.field;
            // Schedules keep one entry for each parameter group.
            value.of_group |= node->kind == Kind::list || node->kind == Kind::tuple;
            value.text = text(node, max_depth);
            out_.push_back(std::move(value));
            return {};
        }
        for (const auto& [key, value] : pickle::dict_items(dict)) {
            if (depth == 0 || budget_nbytes_ == 0) {
                break;
            }
            if (!(skips_metrics && contains(metric_keys, key->text))) {
                const std::string name = key->kind == Kind::string ? key->text : text(key, max_depth);
                CKPTFS_TRY(add({value, field.place.in(name)}, like, depth - 1));
            }
        }
        return {};
    }

    bool skips_metrics = false;

 private:
    Result<void> add_tensor(const Field& field, const SavedValue& like) {
        auto tensor = pt::tensor_ref(field.node);
        if (!tensor) {
            return tensor.error().within(field.place.file + ": " + field.place.field);
        }
        const auto index = archive_.storage_index(tensor->storage.key);
        if (tensor->numel() == 0 || !tensor->contiguous() || !index) {
            return {};  // no numbers, or not in a row
        }
        SavedValue value = like;
        value.field = field.place.field;
        const std::size_t itemsize = model::itemsize(tensor->dtype);
        value.stored = {*index, tensor->offset_numel * itemsize, tensor->dtype,
                        std::min<std::uint64_t>(tensor->numel(), max_stored_nbytes / itemsize)};
        out_.push_back(std::move(value));
        return {};
    }

    // Of a list or tuple (betas that are tensors).
    Result<void> add_tensors_in(const Field& field, const SavedValue& like, int depth) {
        if ((field.node->kind != Kind::list && field.node->kind != Kind::tuple) || depth == 0) {
            return {};
        }
        for (std::size_t i = 0; i < field.node->items.size() && spend(field.place.field.size()); ++i) {
            const Field item{field.node->items[i], field.place.in(i)};
            CKPTFS_TRY(pt::is_tensor(item.node) ? add_tensor(item, like) : add_tensors_in(item, like, depth - 1));
        }
        return {};
    }

    std::string joined(const std::vector<const Node*>& items, int depth) {
        std::string result;
        for (const Node* item : items) {
            if (budget_nbytes_ == 0) {
                break;
            }
            result.append(result.empty() ? "" : ", ").append(text(item, depth));
        }
        return result;
    }

    // Python writes a set in the order of hashes, which differ from process to process.
    std::string set_text(const std::vector<const Node*>& items, int depth) {
        std::vector<std::string> texts;
        texts.reserve(items.size());
        for (const Node* item : items) {
            texts.push_back(text(item, depth));
        }
        std::sort(texts.begin(), texts.end());
        std::string result = "{";
        for (const std::string& item : texts) {
            result.append(result.size() == 1 ? "" : ", ").append(item);
        }
        return result + "}";
    }

    // False once the budget is used up.
    bool spend(std::size_t nbytes) {
        const std::size_t cost = std::min(nbytes, file_budget_nbytes) + value_nbytes;
        budget_nbytes_ = budget_nbytes_ < cost ? 0 : budget_nbytes_ - cost;
        return budget_nbytes_ > 0;
    }

    std::string text(const Node* node, int depth) {
        if (depth == 0 || !spend(node->text.size())) {
            return "...";
        }
        switch (node->kind) {
            case Kind::none:
                return "None";
            case Kind::boolean:
                return node->integer != 0 ? "True" : "False";
            case Kind::integer:
            case Kind::extension:
                return std::to_string(node->integer);
            case Kind::real:
                return number_text(node->real);
            case Kind::string:
                return node->text;
            case Kind::big_integer:
            case Kind::bytes:
            case Kind::bytearray:
                return hexadecimal(node->text);
            case Kind::tuple:
            case Kind::list:
                return "[" + joined(node->items, depth - 1) + "]";
            case Kind::dict:
                return "{" + joined(node->items, depth - 1) + "}";
            case Kind::set:
            case Kind::frozenset:
                return set_text(node->items, depth - 1);
            case Kind::global: {
                const auto name = pickle::global_name(node);
                return std::string(name->module) + "." + std::string(name->name);
            }
            case Kind::object:
                return object_text(node, depth - 1);
            case Kind::persistent_id:
            case Kind::buffer:
                return "data";
        }
        return "";
    }

    std::string object_text(const Node* node, int depth) {
        if (pt::is_tensor(node)) {
            return "tensor";
        }
        // How protocol 2 writes a set: set([…]).
        for (const char* module : {"__builtin__", "builtins"}) {
            for (const char* name : {"set", "frozenset"}) {
                if (pickle::is_object_of(node, module, name) && node->items.size() > 1 &&
                    !node->items[1]->items.empty()) {
                    return set_text(node->items[1]->items.front()->items, depth);
                }
            }
        }
        std::string result = joined(node->items, depth);
        for (const pickle::Mutation& mutation : node->mutations) {
            result.append("; ").append(joined(mutation.items, depth));
        }
        return result;
    }

    const pt::Archive& archive_;
    SavedValues& out_;
    std::size_t budget_nbytes_;
};

// For messages.
std::string shortened(const std::string& text) {
    constexpr std::size_t most = 80;
    return text.size() <= most ? text : text.substr(0, most) + "...";
}

Error disagreement(const FileValues& expected, const SavedValue* wanted, const FileValues& found,
                   const SavedValue* value) {
    const auto said = [](const SavedValue* of) { return of == nullptr ? "absent" : shortened(of->text); };
    return mixed_saves(found.path + ": " + (value != nullptr ? value : wanted)->field + " is " + said(value) +
                       ", but in " + expected.path + " it is " + said(wanted));
}

Result<std::string> read_text(const StoredNumbers& stored, const pt::RecordPlaces& places) {
    const pt::RecordPlace place = places[stored.storage];
    const std::size_t itemsize = model::itemsize(stored.dtype);
    std::vector<std::byte> bytes(stored.numel * itemsize);
    CKPTFS_TRY(place.file->read(place.offset + stored.offset, bytes));
    std::string text;
    for (std::size_t i = 0; i < stored.numel; ++i) {
        const auto element = std::span(bytes).subspan(i * itemsize, itemsize);
        const auto number = decode_number(stored.dtype, element);
        text.append(i == 0 ? "" : ", ")
            .append(number ? number_text(*number)
                           : hexadecimal({reinterpret_cast<const char*>(element.data()), element.size()}));
    }
    return stored.numel == 1 ? text : "[" + text + "]";
}

}  // namespace

std::string rank_values_text(const std::vector<RankValue>& values) {
    const RankValue& value = values.front();
    std::string text = value.field + " is " + value.text + ", and " + value.other_text + " in " + value.other_path;
    constexpr std::size_t most = 5;
    for (std::size_t i = 1; i < std::min(values.size(), most); ++i) {
        text.append(i == 1 ? "; so do differ " : ", ").append(values[i].field);
    }
    return text + (values.size() > most ? " and " + std::to_string(values.size() - most) + " more" : "");
}

bool is_of_save(std::string_view key) {
    return std::binary_search(keys_of_save.begin(), keys_of_save.end(), key);
}

Result<SavedValues> model_states_values(const Field& root, const pt::Archive& archive) {
    SavedValues values;
    Collector collector(archive, values);
    collector.skips_metrics = true;
    for (const std::string_view key : model_states_keys) {
        if (const Node* node = pickle::find(root.node, key)) {
            CKPTFS_TRY(collector.add({node, root.place.in(key)}, {}));
        }
    }
    return values;
}

Result<SavedValues> optimizer_values(const Field& root, const Field& optimizer, const Field& inner,
                                     const pt::Archive& archive) {
    SavedValues values;
    Collector collector(archive, values);
    if (const Node* version = pickle::find(root.node, "ds_version")) {
        CKPTFS_TRY(collector.add({version, root.place.in("ds_version")}, {}));
    }
    for (const std::string_view key : optimizer_keys) {
        if (const Node* node = pickle::find(optimizer.node, key)) {
            CKPTFS_TRY(collector.add({node, optimizer.place.in(key)}, {}));
        }
    }
    // What an optimizer keeps beside what every one of torch's has is its own, and nobody knows whose it is to be.
    for (const auto& [key, value] : pickle::dict_items(inner.node)) {
        if (key->kind == Kind::string && key->text != "state" && key->text != "param_groups") {
            SavedValue like;
            like.owner = ValueOwner::rank;
            CKPTFS_TRY(collector.add({value, inner.place.in(key->text)}, like));
        }
    }
    const Node* groups = pickle::find(inner.node, "param_groups");
    for (std::size_t g = 0; groups != nullptr && groups->kind == Kind::list && g < groups->items.size(); ++g) {
        const Place place{root.place.file, "param_groups[" + std::to_string(g) + "]"};
        for (const auto& [key, value] : pickle::dict_items(groups->items[g])) {
            if (key->kind == Kind::string && key->text != "params") {
                SavedValue like;
                like.owner = is_of_save(key->text) ? ValueOwner::save : ValueOwner::rank;
                like.of_group = true;
                CKPTFS_TRY(collector.add({value, place.in(key->text)}, like));
            }
        }
    }
    return values;
}

Result<void> add_state_values(std::size_t index, const StateEntries& entries, std::uint64_t partition_numel,
                              const pt::Archive& archive, SavedValues& out) {
    Collector collector(archive, out, (entries.size() + 1) * state_budget_nbytes);
    const Place place{archive.file()->name(), "state[" + std::to_string(index) + "]"};
    for (const StateEntry& entry : entries) {
        const bool scalar = entry.dimensions == 0 || (entry.shard.numel == 1 && partition_numel != 1);
        // Steps are compared by themselves: FusedAdam and the elastic form count in other places.
        if (entry.key == "step" || (entry.tensor && !scalar) || (!entry.tensor && entry.held_numel > 1)) {
            continue;
        }
        if (contains(keys_made_anew, entry.key)) {
            continue;
        }
        SavedValue like;
        like.owner = is_of_save(entry.key) ? ValueOwner::save : ValueOwner::rank;
        like.of_group = true;
        like.of_state = true;
        CKPTFS_TRY(collector.add({entry.node, place.in(entry.key)}, like));
    }
    return {};
}

Result<FileValues> values_of_file(std::string path, const SavedValues& values, const pt::RecordPlaces& places,
                                  bool stored_only) {
    FileValues result;
    result.path = std::move(path);
    result.whole = !stored_only;
    for (const SavedValue& value : values) {
        if (value.stored || !stored_only) {
            SavedValue& copy = result.values.emplace_back(value);
            if (value.stored) {
                CKPTFS_ASSIGN(copy.text, read_text(*value.stored, places));
            }
        }
    }
    return result;
}

Result<void> compare_values(const FileValues& expected, const FileValues& found, Likeness likeness,
                            std::vector<RankValue>& own) {
    std::unordered_map<std::string_view, const SavedValue*> by_field;
    for (const SavedValue& value : found.values) {
        by_field.insert_or_assign(value.field, &value);
    }
    const auto is_skipped = [likeness](const SavedValue& value) {
        return (likeness == Likeness::other_families && value.of_group) ||
               (likeness != Likeness::ranks && value.owner == ValueOwner::rank);
    };
    for (const SavedValue& wanted : expected.values) {
        const auto at = by_field.find(wanted.field);
        const SavedValue* value = at == by_field.end() ? nullptr : at->second;
        if (value != nullptr) {
            by_field.erase(at);
        }
        const bool absent = value == nullptr && (wanted.of_state || !found.whole);
        if (absent || is_skipped(wanted) || (value != nullptr && value->text == wanted.text)) {
            continue;
        }
        if (wanted.owner == ValueOwner::save || value == nullptr) {
            return disagreement(expected, &wanted, found, value);
        }
        const auto known = [&wanted](const RankValue& of) { return of.field == wanted.field; };
        if (std::none_of(own.begin(), own.end(), known)) {
            own.push_back({wanted.field, expected.path, shortened(wanted.text), found.path, shortened(value->text)});
        }
    }
    for (const SavedValue& value : found.values) {
        if (by_field.contains(value.field) && !value.of_state && !is_skipped(value)) {
            return disagreement(expected, nullptr, found, &value);
        }
    }
    return {};
}

}  // namespace ckptfs::zero
