// Model states that were opened, for who reads the same tag again because its other files are broken.
#pragma once

#include <cstdint>
#include <map>

#include "ckptfs/source.h"
#include "zero/model_states.h"

namespace ckptfs::zero {

struct OpenedModelStates {
    ModelStates states;
    FileInfo info;  ///< from before they were opened, with the mode that an access control list leaves of it
};

/// By model-parallel rank.
using OpenedFamilies = std::map<std::uint64_t, OpenedModelStates>;

}  // namespace ckptfs::zero
