// New tensors in the form of old ones.
#include "pt/archive_editor.h"

#include <algorithm>
#include <utility>

namespace ckptfs::pt {
namespace {

using pickle::Kind;
using pickle::Node;

bool is_untyped(model::DType dtype) {
    return model::storage_class(dtype) == "UntypedStorage";
}

}  // namespace

ArchiveEditor::ArchiveEditor(std::shared_ptr<const Archive> base, RecordPlaces places)
    : ArchiveWriter(base->tree(), base, std::move(places)), base_(std::move(base)) {}

const Node* ArchiveEditor::tensor(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel,
                                  const std::vector<std::uint64_t>& sizes) {
    const std::vector<std::uint64_t> strides = contiguous_strides(sizes);
    return make_tensor(like, storage, offset_numel, sizes, {strides.begin(), strides.end()});
}

const Node* ArchiveEditor::tensor_view(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel) {
    return make_tensor(like, storage, offset_numel, like.sizes, like.strides);
}

const Node* ArchiveEditor::make_tensor(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel,
                                       const std::vector<std::uint64_t>& sizes,
                                       const std::vector<std::int64_t>& strides) {
    const NewStorage& target = new_storages_[storage];
    std::vector<const Node*> stride_nodes;
    stride_nodes.reserve(strides.size());
    for (const std::int64_t stride : strides) {
        stride_nodes.push_back(pickle_.integer(stride));
    }
    Node* const arguments = pickle_.copy(like.rebuild);
    arguments->items[0] = storage_id_like(like, storage);
    arguments->items[1] = pickle_.integer(static_cast<std::int64_t>(offset_numel));
    arguments->items[2] = integers(sizes);
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

const Node* ArchiveEditor::storage_id_like(const TensorRef& like, std::size_t storage) {
    const Node* const model = like.storage_id->items.front();
    NewStorage& target = new_storages_[storage];
    if (target.class_node == nullptr) {
        const bool same_class =
            like.storage.dtype == target.dtype || (is_untyped(target.dtype) && is_untyped(like.dtype));
        target.class_node = same_class ? model->items[1] : storage_class_node(target.dtype);
        target.location_node =
            like.storage.location == target.location ? model->items[3] : pickle_.string(target.location);
    }
    return storage_id(storage, model->items[0]);
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

Result<std::shared_ptr<const VirtualFile>> ArchiveEditor::lay_out(const std::string& file_name,
                                                                  std::shared_ptr<const void> owner) {
    CKPTFS_TRY(begin_layout(file_name));
    if (!pickle_.is_edited() && !is_base_moved()) {
        return as_base(file_name, std::move(owner));
    }
    CKPTFS_ASSIGN(const Emitted emitted, emit());
    CKPTFS_ASSIGN(const bool is_same, is_as_in_base(emitted));
    if (is_same) {
        return as_base(file_name, std::move(owner));
    }
    const bool from_stream = base_->root_name() == stream_root_name;
    return lay_out_in(Frame::of(*base_), from_stream ? std::string(stream_root_name) : root_name_of(file_name),
                      file_name, emitted, std::move(owner));
}

Result<std::shared_ptr<const VirtualFile>> ArchiveEditor::as_base(const std::string& file_name,
                                                                  std::shared_ptr<const void> owner) const {
    PieceList whole;
    whole.add_source(base_->file().get(), 0, base_->file()->size());
    return VirtualFile::create(file_name, std::move(whole), with_files(std::move(owner)));
}

/// Whether the edits have changed nothing in the end.
Result<bool> ArchiveEditor::is_as_in_base(const Emitted& emitted) const {
    if (is_base_moved() || !std::all_of(emitted.storages.begin(), emitted.storages.end(),
                                        [this](const EmittedStorage& storage) { return is_base(storage); })) {
        return false;
    }
    CKPTFS_ASSIGN(const std::string pristine, pickle::Editor(base_->tree()).write());
    return emitted.pickle == pristine;
}

}  // namespace ckptfs::pt
