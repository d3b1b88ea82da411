// The file of a source rank that a stage-3 file of a target rank is edited from.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "pt/archive.h"
#include "zero/checkpoint.h"

namespace ckptfs::view {

struct Template {
    std::shared_ptr<const pt::Archive> archive;
    std::vector<pt::RecordPlace> places;  ///< of its storages, in the rank's file
};

/// Reads the file again where its tree was not kept.
Result<Template> template_of(const zero::RankFile& file);

/// What rank `rank` of `dp_world_size` owns of one parameter, in the form that stage 3 stores it: padding is zero.
void append_share(const zero::State& state, std::size_t parameter, std::uint64_t numel, std::uint64_t dp_world_size,
                  std::uint64_t rank, PieceList& out);

}  // namespace ckptfs::view
