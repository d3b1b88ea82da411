// A second reader of safetensors files: strict where the format says what must not be, and independent of the code that
// writes them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "verify/shown_tensor.h"

namespace ckptfs::verify {

struct SafetensorsFile {
    std::vector<ShownTensor> tensors;  ///< in the order of their bytes
    std::map<std::string, std::string> metadata;
};

/// The header of `file`, by the specification (https://github.com/huggingface/safetensors, "Format"): eight bytes with
/// the header's length, little-endian and at most 100,000,000; a JSON object that begins with '{', without duplicate
/// keys, padded with spaces at most; for each tensor a dtype, a shape and two offsets into the rest of the file, which
/// hold just the tensor. The tensors cover that rest without gaps and without overlaps. `damaged` where any of this
/// does not hold, with the tensor's name.
Result<SafetensorsFile> read_safetensors(const File& file);

}  // namespace ckptfs::verify
