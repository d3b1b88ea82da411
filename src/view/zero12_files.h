// The files of a ZeRO-1/2 checkpoint at a target world size, built by editing the source's own trees: what does not
// depend on the world size comes out as it came in, keys and their order included.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "view/recut.h"
#include "zero/written.h"

namespace ckptfs::view {

struct TargetLayout {
    std::uint64_t dp_world_size = 1;
    std::vector<std::vector<zero::FlatLayout>> families;  ///< by model-parallel rank, then by parameter group
    /// Whether ranks keep Muon's momentum whole (they do unless the optimizer is offloaded); nullopt: as the source
    /// does.
    std::optional<bool> whole_momentum;
    std::optional<zero::LayoutConfig> settings;  ///< of the config that will resume, where it was given
    bool same_as_source = false;                 ///< every group is cut as it was: the files can pass through
};

/// `target`: the layout settings of the engine that will load; nullopt: each group keeps the rules of its source.
/// `invalid_argument` where those are not known and not all that it can have cut alike.
Result<TargetLayout> target_layout(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                                   const std::optional<zero::LayoutConfig>& target);

/// `family`: index of the model-parallel rank; `rank`: data-parallel.
Result<std::shared_ptr<const VirtualFile>> recut_optimizer_file(const std::shared_ptr<const zero::Written>& checkpoint,
                                                                const TargetLayout& target, std::size_t family,
                                                                std::uint64_t rank, const std::string& file_name);

Result<std::shared_ptr<const VirtualFile>> recut_model_states_file(
    const std::shared_ptr<const zero::Written>& checkpoint, const TargetLayout& target, std::size_t family,
    const std::string& file_name);

/// Both kinds of files, of every family.
Result<std::unique_ptr<const Recut>> zero12_recut(std::shared_ptr<const zero::Written> checkpoint,
                                                  std::uint64_t dp_world_size,
                                                  const std::optional<zero::LayoutConfig>& target);

}  // namespace ckptfs::view
