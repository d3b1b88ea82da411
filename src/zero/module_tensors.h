// The tensors of a state dict in a file, by name, with where their bytes lie.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "model/elements.h"
#include "pt/archive.h"

namespace ckptfs::zero {

struct ModuleTensor {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;
    model::DType dtype = model::DType::uint8;
    bool contiguous = true;
    const File* file = nullptr;  ///< the archive's
    std::uint64_t offset = 0;    ///< of its first element, in bytes

    [[nodiscard]] model::Elements elements() const { return {dtype, numel, model::Contiguous{file, offset}}; }
    /// Whether both are one tensor under two names.
    [[nodiscard]] bool is(const ModuleTensor& other) const {
        return file == other.file && offset == other.offset && dtype == other.dtype && shape == other.shape;
    }
};

/// Those in `state_dict` of `archive`, in its order, each name once (the last one counts), with `prefix` before it;
/// what is no tensor is passed over. A tensor that cannot be read is left out and said in `gaps`.
[[nodiscard]] std::vector<ModuleTensor> module_tensors(const pt::Archive& archive, const pickle::Node* state_dict,
                                                       std::string_view prefix, std::vector<std::string>& gaps);

}  // namespace ckptfs::zero
