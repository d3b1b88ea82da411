// Finds the tensors of a state dict, in its order.
#include "zero/module_tensors.h"

#include <optional>
#include <unordered_map>
#include <utility>

namespace ckptfs::zero {
namespace {

Result<ModuleTensor> module_tensor_of(const pt::Archive& archive, const pickle::Node* value) {
    CKPTFS_ASSIGN(pt::TensorRef ref, pt::tensor_ref(value));
    const std::optional<std::size_t> storage = archive.storage_index(ref.storage.key);
    if (!storage) {
        return Error(ErrorCode::internal, "its storage " + std::string(ref.storage.key) + " is not in the file");
    }
    const pt::RecordPlace& place = archive.storages()[*storage].place;
    ModuleTensor tensor;
    tensor.numel = ref.numel();
    tensor.dtype = ref.dtype;
    tensor.contiguous = ref.contiguous();
    tensor.file = place.file;
    tensor.offset = place.offset + ref.offset_numel * model::itemsize(ref.dtype);
    tensor.shape = std::move(ref.sizes);
    return tensor;
}

}  // namespace

std::vector<ModuleTensor> module_tensors(const pt::Archive& archive, const pickle::Node* state_dict,
                                         std::string_view prefix, std::vector<std::string>& gaps) {
    std::vector<ModuleTensor> tensors;
    std::unordered_map<std::string_view, std::size_t> known;
    for (const auto& [key, value] : pickle::dict_items(state_dict)) {
        if (key->kind != pickle::Kind::string || !pt::is_tensor(value)) {
            continue;
        }
        auto tensor = module_tensor_of(archive, value);
        if (!tensor) {
            gaps.push_back(archive.file()->name() + ": " + std::string(prefix) + key->text +
                           " cannot be read: " + tensor.error().message());
            continue;
        }
        tensor->name = std::string(prefix) + key->text;
        const auto [at, fresh] = known.emplace(key->text, tensors.size());
        if (fresh) {
            tensors.push_back(*std::move(tensor));
        } else {
            tensors[at->second] = *std::move(tensor);
        }
    }
    return tensors;
}

}  // namespace ckptfs::zero
