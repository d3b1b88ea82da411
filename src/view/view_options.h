// What the options of a mount say of its views, beyond the request for one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "zero/config.h"
#include "zero/read_options.h"

namespace ckptfs::view {

/// What a name becomes: every match of `pattern`, a regular expression of Perl's, is replaced.
struct Rename {
    std::string pattern;
    std::string replacement;
};

struct ViewOptions {
    /// The layout settings of the config that will resume (--ds-config); those stored in the checkpoint where absent.
    std::optional<zero::LayoutConfig> target = std::nullopt;
    /// World sizes count data-parallel ranks (--dp-size) rather than all ranks, as WORLD_SIZE does.
    bool counts_data_parallel = false;
    /// Stage 3: elements of a rank after which a sub-group ends (--sub-group-size); as `target` says where absent.
    std::optional<std::uint64_t> sub_group_size = std::nullopt;
    /// What the reader accepts.
    zero::ReadOptions read = {};

    // What follows is for views that show tensors under their names.

    /// Bytes of tensors after which a file ends (--max-shard-size); what is usual for the container where absent.
    std::optional<std::uint64_t> max_shard_nbytes = std::nullopt;
    /// Taken off the front of names (--strip-prefix), in this order.
    std::vector<std::string> strip_prefixes = {};
    /// Applied in this order (--rename).
    std::vector<Rename> renames = {};
    /// Only parameters whose name this regular expression of Perl's finds something in (--parameters).
    std::optional<std::string> parameters = std::nullopt;
    bool trainable_only = false;  ///< only parameters that the optimizer trains (--trainable-only)
    /// The tag that counts as the current one of its directory instead of what `latest` says (--tag).
    std::optional<std::string> tag = std::nullopt;
};

}  // namespace ckptfs::view
