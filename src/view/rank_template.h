// The tree of a source rank's file that a file of a target rank is edited from.
#pragma once

#include <memory>

#include "ckptfs/result.h"
#include "pt/archive.h"
#include "zero/written.h"

namespace ckptfs::view {

struct Template {
    std::shared_ptr<const pt::Archive> archive;
    pt::RecordPlaces places;  ///< of its storages, in the rank's file
};

/// Reads the file again where its tree was not kept.
Result<Template> template_of(const zero::RankFile& file);

}  // namespace ckptfs::view
