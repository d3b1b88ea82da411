// The files that DeepSpeed would have written at another world size.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "ckptfs/view.h"
#include "view/kind.h"
#include "view/view_options.h"
#include "zero/written.h"

namespace ckptfs::view {

[[nodiscard]] const Kind& world_size_kind();

/// nullopt: the one stored in the checkpoint.
[[nodiscard]] std::optional<std::uint64_t> target_sub_group_size(const ViewOptions& options);

/// The data-parallel size of `checkpoint` at `world_size`. `invalid_argument` where its model-parallel degree does not
/// divide that.
Result<std::uint64_t> dp_world_size_at(const zero::Written& checkpoint, std::uint64_t world_size,
                                       const ViewOptions& options);

/// The files of `checkpoint` at `world_size`. The view keeps the checkpoint, and by it the source's Files.
/// At the source's own world size and settings the original files pass through, byte for byte.
/// `invalid_argument` where world_size is 0 or above max_world_size, or where dp_world_size_at() or the settings of
/// `options` do not fit.
Result<std::shared_ptr<const View>> world_size_view(std::shared_ptr<const zero::Written> checkpoint,
                                                    std::uint64_t world_size, const ViewOptions& options);

}  // namespace ckptfs::view
