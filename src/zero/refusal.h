// The closed list of layouts that ckptfs refuses by name. docs/support.md is generated from it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs::zero {

enum class Refusal {
    mixture_of_experts,
    not_element_wise,
    one_bit_optimizer,
    nvme_offload,
    partial_offload,
    mics,
    quantized_weights,
    rank_values,
    legacy_container,
    deflated_container,
};

struct RefusalEntry {
    Refusal id;
    std::string_view name;        ///< as it stands in error messages
    std::string_view recognised;  ///< how a reader knows it
    std::string_view instead;     ///< what the user can do
};

[[nodiscard]] std::span<const RefusalEntry> refusals();

/// The `unsupported` error for `path`: names the layout, what was found there, and what to do.
[[nodiscard]] Error refuse(Refusal id, std::string_view path, std::string_view found);

/// docs/support.md, whole.
[[nodiscard]] std::string support_markdown();

}  // namespace ckptfs::zero
