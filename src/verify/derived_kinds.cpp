// For each kind of derived view two functions: what the model says it must show, and what its files hold.
#include "verify/derived_kinds.h"

#include <string_view>
#include <utility>

#include "verify/pickled_tensors.h"
#include "verify/safetensors_file.h"

namespace ckptfs::verify {
namespace {

constexpr std::string_view weight = "weight";

std::vector<FoundTensor> of_kind(std::string_view kind, std::vector<ShownTensor> tensors) {
    std::vector<FoundTensor> result;
    result.reserve(tensors.size());
    for (ShownTensor& tensor : tensors) {
        result.push_back({std::string(kind), std::move(tensor)});
    }
    return result;
}

std::string_view base_name(std::string_view path) {
    return path.substr(path.rfind('/') + 1);
}

std::string_view stem(std::string_view path) {
    const std::string_view name = base_name(path);
    return name.substr(0, name.rfind('.'));
}

// save_pretrained stores one of several tied names in safetensors, torch.save all of them.
std::vector<ExpectedTensor> expected_of_weights(const model::Checkpoint& checkpoint, const ViewRequest& request,
                                                const Naming& naming) {
    const bool bin = request.container == WeightsContainer::bin;
    const WeightsDType dtype =
        bin && request.dtype == WeightsDType::source ? WeightsDType::fp32 : request.dtype;  // as zero_to_fp32.py
    return expected_weights(checkpoint, dtype, bin, naming);
}

Result<std::vector<FoundTensor>> found_in_weights(const std::string& path, const std::shared_ptr<const File>& file) {
    if (path.ends_with(".safetensors")) {
        CKPTFS_ASSIGN(auto content, read_safetensors(*file));
        return of_kind(weight, std::move(content.tensors));
    }
    if (path.ends_with(".bin")) {
        CKPTFS_ASSIGN(auto tensors, pickled_tensors(file, {}));
        return of_kind(weight, std::move(tensors));
    }
    return std::vector<FoundTensor>();
}

std::vector<ExpectedTensor> expected_of_states(const model::Checkpoint& checkpoint, const ViewRequest& /*request*/,
                                               const Naming& naming) {
    return expected_states(checkpoint, naming);
}

std::vector<ExpectedTensor> expected_of_universal(const model::Checkpoint& checkpoint, const ViewRequest& /*request*/,
                                                  const Naming& naming) {
    return expected_universal(checkpoint, naming);
}

Result<std::vector<FoundTensor>> found_in_states(const std::string& path, const std::shared_ptr<const File>& file) {
    if (!path.ends_with(".safetensors")) {
        return std::vector<FoundTensor>();
    }
    CKPTFS_ASSIGN(auto content, read_safetensors(*file));
    return of_kind(stem(path), std::move(content.tensors));
}

std::vector<ExpectedTensor> expected_of_lightning(const model::Checkpoint& checkpoint, const ViewRequest& /*request*/,
                                                  const Naming& naming) {
    return expected_lightning(checkpoint, naming);
}

Result<std::vector<FoundTensor>> found_in_lightning(const std::string& /*path*/,
                                                    const std::shared_ptr<const File>& file) {
    CKPTFS_ASSIGN(auto tensors, pickled_tensors(file, {"state_dict"}));
    return of_kind(weight, std::move(tensors));
}

// zero/<parameter>/<state>.pt: the tensor, or {'param': the tensor, …}.
Result<std::vector<FoundTensor>> found_in_universal(const std::string& path, const std::shared_ptr<const File>& file) {
    const std::string_view directory = std::string_view(path).substr(0, path.size() - base_name(path).size());
    constexpr std::string_view zero = "zero/";
    const std::size_t at = directory.starts_with(zero) ? 0 : directory.find("/zero/");
    if (at == std::string_view::npos || !path.ends_with(".pt")) {
        return std::vector<FoundTensor>();
    }
    std::string_view parameter = directory.substr(at + zero.size() + (at == 0 ? 0 : 1));
    if (parameter.empty() || stem(path) == "step") {
        return std::vector<FoundTensor>();  // zero/optimizer_state.pt, and a number for each parameter
    }
    parameter.remove_suffix(1);
    CKPTFS_ASSIGN(auto tensors, pickled_tensors(file, {}));
    std::erase_if(tensors, [](const ShownTensor& tensor) { return tensor.name != "param" && !tensor.name.empty(); });
    for (ShownTensor& tensor : tensors) {
        tensor.name = parameter;
    }
    return of_kind(stem(path), std::move(tensors));
}

constexpr DerivedKind weights_kind{expected_of_weights, found_in_weights};
constexpr DerivedKind states_kind{expected_of_states, found_in_states};
constexpr DerivedKind lightning_kind{expected_of_lightning, found_in_lightning};
constexpr DerivedKind universal_kind{expected_of_universal, found_in_universal};

}  // namespace

const DerivedKind* derived_kind(ViewKind kind) {
    switch (kind) {
        case ViewKind::world_size:
            return nullptr;
        case ViewKind::weights:
            return &weights_kind;
        case ViewKind::states:
            return &states_kind;
        case ViewKind::lightning:
            return &lightning_kind;
        case ViewKind::universal:
            return &universal_kind;
    }
    return nullptr;
}

}  // namespace ckptfs::verify
