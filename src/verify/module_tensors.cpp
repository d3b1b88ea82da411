// Finds the tensors of a state dict, in its order.
#include "verify/module_tensors.h"

#include <utility>

namespace ckptfs::verify {
namespace {

std::uint64_t span_numel(const pt::TensorRef& tensor) {
    std::uint64_t last = 0;
    for (std::size_t axis = 0; axis < tensor.sizes.size(); ++axis) {
        if (tensor.sizes[axis] == 0) {
            return 0;
        }
        last += (tensor.sizes[axis] - 1) * static_cast<std::uint64_t>(tensor.strides[axis]);
    }
    return last + 1;
}

}  // namespace

Result<std::vector<ModuleTensor>> module_tensors(const pt::Archive& model_states, std::string_view key,
                                                 const pt::RecordPlaces& places) {
    std::vector<ModuleTensor> tensors;
    for (const auto& [name, value] : pickle::dict_items(pickle::find(model_states.root(), key))) {
        if (!pt::is_tensor(value)) {
            continue;
        }
        CKPTFS_ASSIGN(auto tensor, pt::tensor_ref(value));
        const auto storage = model_states.storage_index(tensor.storage.key);
        if (!storage) {
            return Error(ErrorCode::internal, "a tensor without a storage in " + model_states.file()->name());
        }
        const std::uint64_t numel = span_numel(tensor);
        const pt::RecordPlace place = places.empty() ? model_states.storages()[*storage].place : places[*storage];
        tensors.push_back({.name = name->text,
                           .dtype = tensor.storage.dtype,
                           .sizes = std::move(tensor.sizes),
                           .strides = std::move(tensor.strides),
                           .file = place.file,
                           .offset = place.offset + tensor.offset_numel * model::itemsize(tensor.storage.dtype),
                           .numel = numel});
    }
    return tensors;
}

}  // namespace ckptfs::verify
