// Tags of ZeRO checkpoints for the file system: read once, shown at any world size.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ckptfs/view.h"
#include "zero/checkpoint.h"
#include "zero/config.h"
#include "zero/read_options.h"

namespace ckptfs::view {

struct ViewOptions {
    /// The layout settings of the config that will resume (--ds-config); those stored in the checkpoint where absent.
    std::optional<zero::LayoutConfig> target;
    /// World sizes count data-parallel ranks (--dp-size) rather than all ranks, as WORLD_SIZE does.
    bool counts_data_parallel = false;
    /// Stage 3: elements of a rank after which a sub-group ends (--sub-group-size); as `target` says where absent.
    std::optional<std::uint64_t> sub_group_size = std::nullopt;
    /// What the reader accepts.
    zero::ReadOptions read = {};
};

/// nullopt: the one stored in the checkpoint.
[[nodiscard]] std::optional<std::uint64_t> target_sub_group_size(const ViewOptions& options);

/// The data-parallel size of `checkpoint` at `world_size`. `invalid_argument` where its model-parallel degree does not
/// divide that.
Result<std::uint64_t> dp_world_size_at(const zero::Checkpoint& checkpoint, std::uint64_t world_size,
                                       const ViewOptions& options);

/// The files of `checkpoint` at `world_size`. The view keeps the checkpoint, and by it the source's Files.
/// At the source's own world size and settings the original files pass through, byte for byte.
/// `invalid_argument` where world_size is 0 or above max_world_size, or where dp_world_size_at() or the settings of
/// `options` do not fit.
Result<std::shared_ptr<const View>> world_size_view(std::shared_ptr<const zero::Checkpoint> checkpoint,
                                                    std::uint64_t world_size, const ViewOptions& options);

/// The TagReader of all ZeRO layouts that ckptfs knows.
[[nodiscard]] std::unique_ptr<TagReader> zero_tag_reader(ViewOptions options);

}  // namespace ckptfs::view
