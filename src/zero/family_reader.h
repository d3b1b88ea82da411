// What reading a tag does for each family, whether or not its optimizer is read too.
#pragma once

#include <cstdint>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "zero/inventory.h"
#include "zero/model_states.h"
#include "zero/opened_families.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// A tag directory that is being read. Referents must outlive it.
struct TagFiles {
    const Source& source;
    const std::string& directory;  ///< relative to the source
    const Inventory& inventory;
    OpenedFamilies* opened = nullptr;  ///< model states that need not be opened again; others are added

    [[nodiscard]] std::string path() const { return source.display(directory); }
};

/// Refuses mixtures of experts and states swapped to NVMe, and what two saves of different stages left.
Result<void> refuse_by_listing(const Inventory& inventory, const std::string& path);

/// Opens the model states of model-parallel rank `rank` (at stage 3 those of data-parallel rank 0) and sets the name,
/// the archive and the info of `family`. `incomplete` where they are missing.
Result<ModelStates> open_family(const TagFiles& tag, std::uint64_t rank, Family& family);

/// `stale` where a file of the family has another stamp than when it was opened.
Result<void> check_unchanged(const TagFiles& tag, const Family& family);

}  // namespace ckptfs::zero
