// The weights of a pipeline, which lie in a file for each layer beside the model states.
#pragma once

#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "zero/inventory.h"
#include "zero/model_states.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Opens the layer files of the last family of a tag and sets its `layers` and its groups' `weights_itemsize`. A
/// family whose model states hold the weights has none. `content`: the family's parameters. `family_index`: of the
/// model-parallel ranks. `incomplete` where a
/// layer's file is missing, `inconsistent` where a tensor in one has another shape than param_shapes says, errors of
/// pt::Archive::open() where one is cut off or damaged.
Result<void> read_layer_files(const Source& source, const std::string& directory, const Inventory& inventory,
                              const ModelStates& states, std::size_t family_index, const model::Rank& content,
                              Family& family);

/// Opens the files of those layers that no family's parameters lie in (activations, frozen layers), up to the last
/// layer that has some: they must be whole too. They join the last family's.
Result<void> read_other_layer_files(const Source& source, const std::string& directory, const Inventory& inventory,
                                    std::vector<Family>& families);

}  // namespace ckptfs::zero
