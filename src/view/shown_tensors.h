// The tensors that a view of a model shows, under their names there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "model/checkpoint.h"
#include "view/tensor_names.h"

namespace ckptfs::view {

struct ShownTensor {
    std::string name;
    std::vector<std::uint64_t> shape;
    model::Elements elements;
    /// As which it is shown, whatever `elements` have.
    model::DType dtype = model::DType::float32;
    bool is_parameter = false;
    std::vector<std::string> tied;  ///< further names of the same tensor

    [[nodiscard]] std::uint64_t nbytes() const { return elements.numel() * model::itemsize(dtype); }
};

/// Which tensors a view takes from a checkpoint, and as what. Each function answers nullopt for what it leaves out.
struct TensorSelection {
    struct Shown {
        model::Elements elements;
        model::DType dtype = model::DType::float32;
    };
    std::function<std::optional<Shown>(const model::Parameter&, const model::Group*)> parameter;
    std::function<std::optional<Shown>(const model::Tensor&)> buffer;
    /// In the order of the module, rather than buffers, frozen and trained parameters as zero_to_fp32.py puts them.
    bool in_module_order = true;
    bool trainable_only = false;  ///< leaves out frozen parameters and buffers
};

/// Empty where nothing is left. `invalid_argument` where two tensors have one name in the end; `unsupported` for a
/// dtype that cannot be converted as the selection asks, and for `trainable_only` where the checkpoint does not tell.
/// `display`: the tag, for messages.
Result<std::vector<ShownTensor>> shown_tensors(const model::Rank& rank, const TensorNames& names,
                                               const TensorSelection& selection, const std::string& display);

/// `invalid_argument`: what a view says that has no tensor to show.
[[nodiscard]] Error nothing_shown(const std::string& display);

}  // namespace ckptfs::view
