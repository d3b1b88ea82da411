// The ds_config inside re-cut files.
#pragma once

#include <cstdint>
#include <optional>

#include "ckptfs/result.h"
#include "pt/pickle.h"
#include "view/zero12_files.h"

namespace ckptfs::view {

/// Where the layout follows another config than the stored one, its settings must stand in the stored one too: whoever
/// reads the files next (ckptfs itself, over a copy or a mount of the view) takes the order of parameters from there.
/// `root`: of either file kind.
Result<void> store_target_rules(pickle::Editor& pickle, const pickle::Node* root, const TargetLayout& target);
/// The same for the one setting of stage 3. nullopt: it is not known, and stays as it is.
Result<void> store_sub_group_size(pickle::Editor& pickle, const pickle::Node* root,
                                  std::optional<std::uint64_t> sub_group_size);

}  // namespace ckptfs::view
