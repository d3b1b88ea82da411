// Storages and tensors as PyTorch's reducers describe them in a pickle (torch/_utils.py, torch/serialization.py).
#include <algorithm>
#include <limits>
#include <utility>

#include "pt/archive.h"
#include "util/checked.h"

namespace ckptfs::pt {
namespace {

using pickle::Kind;
using pickle::Node;

/// A parameter inside a subclass is two; nothing that PyTorch writes is deeper.
constexpr int most_wrappers = 4;

bool is_utils_function(const Node* node, std::string_view name) {
    return is_global(node, "torch._utils", name);
}

bool is_rebuild(const Node* node) {
    return is_utils_function(node, "_rebuild_tensor_v2") || is_utils_function(node, "_rebuild_tensor_v3") ||
           is_utils_function(node, "_rebuild_tensor");
}

bool is_rebuild_parameter(const Node* node) {
    return is_utils_function(node, "_rebuild_parameter") || is_utils_function(node, "_rebuild_parameter_with_state");
}

bool is_rebuild_from_type(const Node* node) {
    return is_global(node, "torch._tensor", "_rebuild_from_type_v2") ||
           is_global(node, "torch._tensor", "_rebuild_from_type");
}

bool is_tuple(const Node* node, std::size_t least) {
    return node != nullptr && node->kind == Kind::tuple && node->items.size() >= least;
}

/// A function and the tuple it is called with.
struct Call {
    const Node* function = nullptr;
    const Node* arguments = nullptr;
};

Call call_of(const Node* node) {
    if (node == nullptr || node->kind != Kind::object || node->items.size() != 2) {
        return {};
    }
    return {node->items[0], node->items[1]};
}

/// The innermost _rebuild_tensor call, or nothing.
Call rebuild_of(const Node* node) {
    Call call = call_of(node);
    for (int i = 0; i < most_wrappers; ++i) {
        if (is_rebuild(call.function)) {
            return is_tuple(call.arguments, 4) ? call : Call{};
        }
        if (is_rebuild_from_type(call.function) && is_tuple(call.arguments, 3)) {
            call = {call.arguments->items[0], call.arguments->items[2]};
        } else if (is_rebuild_parameter(call.function) && is_tuple(call.arguments, 2)) {
            call = call_of(call.arguments->items[0]);
        } else {
            return {};
        }
    }
    return {};
}

Error damaged_tensor(const std::string& what) {
    return {ErrorCode::damaged, "a tensor " + what};
}

std::optional<std::uint64_t> count_of(const Node* node) {
    if (node == nullptr || node->kind != Kind::integer || node->integer < 0) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(node->integer);
}

Result<std::vector<std::uint64_t>> counts_of(const Node* node, const char* what) {
    if (node == nullptr || node->kind != Kind::tuple) {
        return damaged_tensor(std::string("has no tuple of ") + what);
    }
    std::vector<std::uint64_t> counts;
    for (const Node* item : node->items) {
        const auto count = count_of(item);
        if (!count) {
            return damaged_tensor(std::string("has an impossible number among its ") + what);
        }
        counts.push_back(*count);
    }
    return counts;
}

std::optional<model::DType> dtype_of_global(const Node* node) {
    const auto global = global_name(node);
    return global && global->module == "torch" ? model::dtype_of_name(global->name) : std::nullopt;
}

/// The element type: that of the storage, except that _rebuild_tensor_v3 names one for an untyped storage.
Result<model::DType> dtype_of_call(const Call& call, const StorageRef& storage) {
    if (!is_utils_function(call.function, "_rebuild_tensor_v3")) {
        return storage.dtype;
    }
    constexpr std::size_t dtype_argument = 6;
    const Node* const named =
        call.arguments->items.size() > dtype_argument ? call.arguments->items[dtype_argument] : nullptr;
    const auto dtype = dtype_of_global(named);
    if (!dtype) {
        const auto global = global_name(named);
        return Error(ErrorCode::unsupported, "a tensor has an unknown dtype" +
                                                 (global ? " '" + std::string(global->name) + "'" : std::string()));
    }
    return *dtype;
}

/// One more than the largest element index that the tensor touches; nullopt where that overflows.
std::optional<std::uint64_t> elements_needed(const TensorRef& tensor) {
    std::uint64_t last = tensor.offset_numel;
    for (std::size_t i = 0; i < tensor.sizes.size(); ++i) {
        const auto reach = checked_multiply(tensor.sizes[i] - 1, static_cast<std::uint64_t>(tensor.strides[i]));
        const auto sum = reach ? checked_add(last, *reach) : std::nullopt;
        if (!sum) {
            return std::nullopt;
        }
        last = *sum;
    }
    return checked_add(last, 1);
}

Result<void> check_bounds(const TensorRef& tensor) {
    if (std::find(tensor.sizes.begin(), tensor.sizes.end(), 0U) != tensor.sizes.end()) {
        return {};
    }
    std::uint64_t numel = 1;
    for (const std::uint64_t size : tensor.sizes) {
        const auto product = checked_multiply(numel, size);
        if (!product) {
            return damaged_tensor("has more elements than fit into 64 bits");
        }
        numel = *product;
    }
    const std::uint64_t available =
        tensor.storage.numel * model::itemsize(tensor.storage.dtype) / model::itemsize(tensor.dtype);
    const auto needed = elements_needed(tensor);
    if (!needed || *needed > available) {
        return damaged_tensor("reaches element " + (needed ? std::to_string(*needed) : std::string("2^64")) +
                              " of storage '" + std::string(tensor.storage.key) + "', which has " +
                              std::to_string(available));
    }
    return {};
}

}  // namespace

Result<StorageRef> storage_ref(const Node* persistent_id) {
    if (persistent_id == nullptr || persistent_id->kind != Kind::persistent_id || persistent_id->items.size() != 1) {
        return Error(ErrorCode::damaged, "a value stands where a storage's persistent id is expected");
    }
    return storage_ref_of_tuple(persistent_id->items.front());
}

Result<StorageRef> storage_ref_of_tuple(const Node* id) {
    constexpr std::size_t id_size = 5;
    if (id == nullptr || id->kind != Kind::tuple || id->items.size() != id_size ||
        !is_string(id->items[0], "storage")) {
        return Error(ErrorCode::damaged, "a persistent id is not a storage's");
    }
    const auto type = global_name(id->items[1]);
    const auto numel = count_of(id->items[4]);
    if (!type || id->items[2]->kind != Kind::string || id->items[3]->kind != Kind::string || !numel) {
        return Error(ErrorCode::damaged, "a storage's persistent id is not (class, key, location, number of elements)");
    }
    const auto& [module, name] = *type;
    const bool known_module = module == "torch" || module == "torch.storage" || module == "torch.cuda";
    const auto dtype = known_module ? model::dtype_of_storage_class(name) : std::nullopt;
    if (!dtype) {
        return Error(ErrorCode::unsupported,
                     "a storage has the unknown class '" + std::string(module) + "." + std::string(name) + "'");
    }
    if (!checked_multiply(*numel, model::itemsize(*dtype))) {
        return Error(ErrorCode::damaged,
                     "storage '" + id->items[2]->text + "' claims " + std::to_string(*numel) + " elements");
    }
    return StorageRef{*dtype, id->items[2]->text, id->items[3]->text, *numel};
}

std::uint64_t TensorRef::numel() const {
    std::uint64_t product = 1;
    for (const std::uint64_t size : sizes) {
        product *= size;
    }
    return product;
}

bool TensorRef::contiguous() const {
    if (numel() == 0) {
        return true;
    }
    std::uint64_t expected = 1;
    for (std::size_t i = sizes.size(); i-- > 0;) {
        if (sizes[i] != 1 && static_cast<std::uint64_t>(strides[i]) != expected) {
            return false;
        }
        expected *= sizes[i];
    }
    return true;
}

bool is_tensor(const Node* node) {
    return rebuild_of(node).function != nullptr;
}

Result<TensorRef> tensor_ref(const Node* node) {
    const Call call = rebuild_of(node);
    if (call.function == nullptr) {
        return Error(ErrorCode::damaged, "a value stands where a tensor is expected");
    }
    const std::vector<const Node*>& arguments = call.arguments->items;
    TensorRef tensor;
    tensor.node = node;
    tensor.rebuild = call.arguments;
    tensor.storage_id = arguments[0];
    CKPTFS_ASSIGN(tensor.storage, storage_ref(arguments[0]));
    CKPTFS_ASSIGN(tensor.dtype, dtype_of_call(call, tensor.storage));
    const auto offset = count_of(arguments[1]);
    if (!offset) {
        return damaged_tensor("has an impossible storage offset");
    }
    tensor.offset_numel = *offset;
    CKPTFS_ASSIGN(tensor.sizes, counts_of(arguments[2], "sizes"));
    CKPTFS_ASSIGN(const std::vector<std::uint64_t> strides, counts_of(arguments[3], "strides"));
    if (strides.size() != tensor.sizes.size()) {
        return damaged_tensor("has " + std::to_string(tensor.sizes.size()) + " sizes and " +
                              std::to_string(strides.size()) + " strides");
    }
    tensor.strides.assign(strides.begin(), strides.end());
    CKPTFS_TRY(check_bounds(tensor));
    return tensor;
}

}  // namespace ckptfs::pt
