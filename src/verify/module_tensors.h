// The tensors of model states by name, with where their bytes lie: a second way to them beside the element maps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "pt/archive.h"

namespace ckptfs::verify {

struct ModuleTensor {
    std::string name;
    model::DType dtype = model::DType::uint8;
    std::vector<std::uint64_t> sizes;
    std::vector<std::int64_t> strides;
    const File* file = nullptr;
    std::uint64_t offset = 0;  ///< bytes
    std::uint64_t numel = 0;   ///< of the storage from the tensor's first element to its last, gaps included

    /// Whether another tensor can be compared with this one element by element.
    [[nodiscard]] bool same_form(const ModuleTensor& other) const {
        return name == other.name && dtype == other.dtype && sizes == other.sizes && strides == other.strides;
    }
};

/// Those in the dict at `key` ("module", "frozen_param_fragments"), in its order; empty where it is none. `places`: of
/// the storages, in another file of the same structure; empty: in its own.
Result<std::vector<ModuleTensor>> module_tensors(const pt::Archive& model_states, std::string_view key,
                                                 const pt::RecordPlaces& places = {});

}  // namespace ckptfs::verify
