// The files of a ZeRO-3 checkpoint at a target world size, built by editing the source's own trees: what does not
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

struct Zero3Target {
    std::uint64_t dp_world_size = 1;
    std::optional<std::uint64_t> sub_group_size;        ///< to be stored with the files; nullopt: not known
    std::vector<std::vector<zero::SubGroup>> families;  ///< by model-parallel rank: of all groups, in order
    bool same_as_source = false;                        ///< the files can pass through
};

/// `sub_group_size`: of the engine that will load; nullopt: the one stored in the checkpoint, where that is what the
/// files are cut for; else any that the files are cut for, where they all cut alike at this world size;
/// `invalid_argument` where they do not.
Result<Zero3Target> zero3_target(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                                 std::optional<std::uint64_t> sub_group_size);

/// `family`: index of the model-parallel rank; `rank`: data-parallel.
Result<std::shared_ptr<const VirtualFile>> recut_model_states_shard(
    const std::shared_ptr<const zero::Written>& checkpoint, const Zero3Target& target, std::size_t family,
    std::uint64_t rank, const std::string& file_name);

Result<std::shared_ptr<const VirtualFile>> recut_zero3_optimizer_file(
    const std::shared_ptr<const zero::Written>& checkpoint, const Zero3Target& target, std::size_t family,
    std::uint64_t rank, const std::string& file_name);

/// Both kinds of files, of every family.
Result<std::unique_ptr<const Recut>> zero3_recut(std::shared_ptr<const zero::Written> checkpoint,
                                                 std::uint64_t dp_world_size,
                                                 std::optional<std::uint64_t> sub_group_size);

}  // namespace ckptfs::view
