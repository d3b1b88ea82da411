// A file of named tensors, or of text about them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "safetensors/layout.h"
#include "view/shown_tensors.h"

namespace ckptfs::view {

struct TensorFile {
    enum class Form : std::uint8_t {
        safetensors,  ///< of tied names only the first
        bin,          ///< a dict as torch.save writes it; tied names are one tensor, and follow after all others
        text,
    };

    std::string name;
    Form form = Form::safetensors;
    std::vector<ShownTensor> tensors;
    safetensors::Metadata metadata;  ///< of Form::safetensors
    std::string text;                ///< of Form::text
};

struct BuiltFile {
    std::shared_ptr<const VirtualFile> file;
    std::uint64_t memory_nbytes = 0;
};

/// In bytes, what build() makes. Builds no pieces. `unsupported` where the format cannot hold a tensor.
Result<std::uint64_t> size_of(const TensorFile& file);
/// `owner` keeps the files behind the tensors' elements.
Result<BuiltFile> build(const TensorFile& file, std::shared_ptr<const void> owner);

}  // namespace ckptfs::view
