// New tensors in the form of old ones, and the numbering of the storages that an edited pickle refers to.
#include <unordered_set>
#include <utility>

#include "pt/archive.h"

namespace ckptfs::pt {
namespace {

using pickle::Kind;
using pickle::Node;

constexpr std::size_t key_item = 2;

bool is_untyped(model::DType dtype) {
    return model::storage_class(dtype) == "UntypedStorage";
}

const Node* id_tuple(const pickle::Editor& editor, const Node* persistent_id) {
    return persistent_id->items.empty() ? nullptr : editor.resolve(persistent_id->items.front());
}

}  // namespace

ArchiveEditor::ArchiveEditor(std::shared_ptr<const Archive> base, std::vector<RecordPlace> places)
    : base_(std::move(base)), places_(std::move(places)), pickle_(base_->tree()) {}

std::size_t ArchiveEditor::add_storage(model::DType dtype, std::uint64_t numel, std::string_view location,
                                       PieceList content) {
    new_storages_.push_back({dtype, numel, std::string(location), std::move(content)});
    return new_storages_.size() - 1;
}

const Node* ArchiveEditor::tensor(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel,
                                  const std::vector<std::uint64_t>& sizes) {
    std::vector<std::int64_t> strides(sizes.size());
    std::uint64_t stride = 1;
    for (std::size_t i = sizes.size(); i-- > 0;) {
        strides[i] = static_cast<std::int64_t>(stride);
        stride *= sizes[i] == 0 ? 1 : sizes[i];
    }
    return make_tensor(like, storage, offset_numel, sizes, strides);
}

const Node* ArchiveEditor::tensor_view(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel) {
    return make_tensor(like, storage, offset_numel, like.sizes, like.strides);
}

const Node* ArchiveEditor::make_tensor(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel,
                                       const std::vector<std::uint64_t>& sizes,
                                       const std::vector<std::int64_t>& strides) {
    NewStorage& target = new_storages_[storage];
    std::vector<const Node*> size_nodes;
    size_nodes.reserve(sizes.size());
    for (const std::uint64_t size : sizes) {
        size_nodes.push_back(pickle_.integer(static_cast<std::int64_t>(size)));
    }
    std::vector<const Node*> stride_nodes;
    stride_nodes.reserve(strides.size());
    for (const std::int64_t stride : strides) {
        stride_nodes.push_back(pickle_.integer(stride));
    }
    const Node* const id = pickle_.persistent_id(make_storage_id(like, target));
    new_ids_.emplace(id, storage);

    Node* const arguments = pickle_.copy(like.rebuild);
    arguments->items[0] = id;
    arguments->items[1] = pickle_.integer(static_cast<std::int64_t>(offset_numel));
    arguments->items[2] = pickle_.tuple(std::move(size_nodes));
    arguments->items[3] = pickle_.tuple(std::move(stride_nodes));
    for (std::size_t i = 4; i < arguments->items.size(); ++i) {
        arguments->items[i] = own_copy(arguments->items[i]);
    }
    constexpr std::size_t dtype_argument = 6;
    if (is_untyped(target.dtype) && arguments->items.size() <= dtype_argument) {
        misuse_ =
            Error(ErrorCode::internal, "a tensor of dtype " + std::string(name(target.dtype)) +
                                           " was made in the form of one of dtype " + std::string(name(like.dtype)));
    }
    if (target.dtype != like.dtype && arguments->items.size() > dtype_argument &&
        arguments->items[dtype_argument]->kind == Kind::global) {
        arguments->items[dtype_argument] = pickle_.global("torch", name(target.dtype));
    }
    return rewrap(like.node, like.rebuild, arguments);
}

/// The tuple that describes the storage. torch.save makes a new one for each reference, around the same key string.
const Node* ArchiveEditor::make_storage_id(const TensorRef& like, NewStorage& storage) {
    const Node* const model = like.storage_id->items.front();
    if (storage.key_node == nullptr) {
        storage.key_node = pickle_.copy(pickle_.string(""));
        const bool same_class =
            like.storage.dtype == storage.dtype || (is_untyped(storage.dtype) && is_untyped(like.dtype));
        storage.class_node = same_class ? model->items[1] : storage_class_node(storage.dtype);
        storage.location_node =
            like.storage.location == storage.location ? model->items[3] : pickle_.string(storage.location);
    }
    const std::uint64_t numel =
        is_untyped(storage.dtype) ? storage.numel * model::itemsize(storage.dtype) : storage.numel;
    return pickle_.tuple({model->items[0], storage.class_node, storage.key_node, storage.location_node,
                          pickle_.integer(static_cast<std::int64_t>(numel))});
}

const Node* ArchiveEditor::storage_class_node(model::DType dtype) {
    return pickle_.global(is_untyped(dtype) ? "torch.storage" : "torch", model::storage_class(dtype));
}

/// `object` as it is, except that the innermost call gets `arguments` in the place of `rebuild`.
const Node* ArchiveEditor::rewrap(const Node* object, const Node* rebuild, const Node* arguments) {
    if (object == rebuild) {
        return arguments;
    }
    Node* const outer = pickle_.copy(object);
    if (object->kind == Kind::object) {
        outer->items[1] = rewrap(object->items[1], rebuild, arguments);
        for (pickle::Mutation& mutation : outer->mutations) {
            for (const Node*& item : mutation.items) {
                item = own_copy(item);
            }
        }
        return outer;
    }
    // A wrapper's argument tuple: (data, requires_grad, hooks[, state]) or (function, type, arguments, state).
    const bool from_type = outer->items.front()->kind == Kind::global;
    const std::size_t inner = from_type ? 2 : 0;
    for (std::size_t i = 0; i < outer->items.size(); ++i) {
        outer->items[i] = i == inner ? rewrap(outer->items[i], rebuild, arguments) : own_copy(outer->items[i]);
    }
    return outer;
}

/// Hooks and attributes are objects and dicts of one tensor: shared, a change to one would show in the other.
const Node* ArchiveEditor::own_copy(const Node* node) {
    return node->kind == Kind::object || node->kind == Kind::dict ? pickle_.copy(node) : node;
}

Result<std::vector<ArchiveEditor::EmittedStorage>> ArchiveEditor::find_storages(
    const std::vector<const Node*>& ids) const {
    std::vector<EmittedStorage> storages;
    std::unordered_set<std::size_t> seen_base;
    std::unordered_set<std::size_t> seen_new;
    for (const Node* id : ids) {
        CKPTFS_ASSIGN(const EmittedStorage storage, identify(id));
        if ((storage.is_new ? seen_new : seen_base).insert(storage.index).second) {
            storages.push_back(storage);
        }
    }
    return storages;
}

Result<ArchiveEditor::EmittedStorage> ArchiveEditor::identify(const Node* id) const {
    const auto made_here = new_ids_.find(id);
    if (made_here != new_ids_.end()) {
        return EmittedStorage{true, made_here->second};
    }
    CKPTFS_ASSIGN(const StorageRef ref, storage_ref_of_tuple(id_tuple(pickle_, id)));
    const auto index = base_->storage_index(ref.key);
    if (!index) {
        return Error(ErrorCode::internal, "storage '" + std::string(ref.key) + "' is not the template's");
    }
    return EmittedStorage{false, *index};
}

Result<void> ArchiveEditor::number(const std::vector<const Node*>& ids, const std::vector<EmittedStorage>& storages) {
    std::vector<std::string> keys(base_->storages().size());
    std::vector<const Node*> key_nodes(base_->storages().size());
    for (std::size_t i = 0; i < storages.size(); ++i) {
        const EmittedStorage& storage = storages[i];
        if (storage.is_new) {
            new_storages_[storage.index].key_node->text = std::to_string(i);
        } else if (base_->storages()[storage.index].key != std::to_string(i)) {
            key_nodes[storage.index] = pickle_.string(std::to_string(i));
        }
    }
    std::unordered_set<const Node*> seen;
    std::vector<std::pair<const Node*, const Node*>> renames;
    for (const Node* id : ids) {
        CKPTFS_ASSIGN(const EmittedStorage storage, identify(id));
        const Node* const tuple = id_tuple(pickle_, id);
        if (storage.is_new || key_nodes[storage.index] == nullptr || !seen.insert(tuple).second) {
            continue;
        }
        Node* const renamed = pickle_.copy(tuple);
        renamed->items[key_item] = key_nodes[storage.index];
        renames.emplace_back(tuple, renamed);
    }
    // Only now: while they are looked at, the base's tuples must still say which storage they mean.
    for (const auto& [tuple, renamed] : renames) {
        pickle_.replace(tuple, renamed);
    }
    return {};
}

}  // namespace ckptfs::pt
