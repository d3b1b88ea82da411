// The layout of a safetensors file, as the safetensors library writes it: eight bytes with the length of a JSON header,
// the header, and the tensors without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "model/dtype.h"

namespace ckptfs::safetensors {

struct Entry {
    std::string name;
    model::DType dtype = model::DType::float32;
    std::vector<std::uint64_t> shape;  ///< as torch counts: elements of a packed type, not the values inside them
};

/// Texts by key, written in this order. Keys are unique.
using Metadata = std::vector<std::pair<std::string, std::string>>;

struct Layout {
    std::string header;              ///< all bytes before the first tensor's; a multiple of 8
    std::vector<std::size_t> order;  ///< indices of the entries as their bytes follow the header
    std::uint64_t nbytes = 0;        ///< of the whole file
};

/// As the format names it: "BF16"; empty where it has none.
[[nodiscard]] std::string_view format_name(model::DType dtype);

/// The bytes that `safetensors.torch.save_file` writes before the tensors, and where it puts those. `unsupported`, with
/// the tensor's name, for a dtype that the format lacks, a name that is not UTF-8 and a header above what readers take;
/// `invalid_argument` for a name that occurs twice. `file_name` is for messages.
Result<Layout> lay_out(const std::vector<Entry>& entries, const Metadata& metadata, const std::string& file_name);

}  // namespace ckptfs::safetensors
