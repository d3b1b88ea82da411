// A model cut into files as huggingface_hub cuts it, and the index that says where each tensor is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/view_request.h"
#include "view/tensor_file.h"

namespace ckptfs::view {

/// What `save_pretrained` of transformers 5 and `zero_to_fp32.py` of DeepSpeed take by default, in bytes.
[[nodiscard]] std::uint64_t default_max_shard_nbytes(WeightsContainer container);

/// Indices of tensors by file, as `split_state_dict_into_shards_factory` of huggingface_hub deals them out: in their
/// order, a larger one than `max_nbytes` into a file of its own.
[[nodiscard]] std::vector<std::vector<std::size_t>> split_into_shards(const std::vector<std::uint64_t>& nbytes,
                                                                      std::uint64_t max_nbytes);

/// The files of a model, the index last if there is one. `unsupported` for a name that an index cannot hold.
Result<std::vector<TensorFile>> weight_files(std::vector<ShownTensor> tensors, WeightsContainer container,
                                             std::uint64_t max_nbytes);

/// The name of the only file.
[[nodiscard]] std::string weight_file_name(WeightsContainer container);
/// Whether a loader of models could take the file for weights that it loads: "model*.safetensors",
/// "pytorch_model*.bin" and their indexes.
[[nodiscard]] bool is_weight_file_name(std::string_view name);

}  // namespace ckptfs::view
