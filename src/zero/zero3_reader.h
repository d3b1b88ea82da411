// Reads the files of one stage-3 family: metadata only, each different pickle parsed once.
#pragma once

#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "zero/model_states.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// The names of one family's files, by data-parallel rank.
struct Zero3Names {
    std::vector<std::string> model_states;
    std::vector<std::string> optimizer;
};

/// Fills `family` but for its name, and the groups of `content` without weights; returns what other families must have
/// alike. Errors as read_checkpoint().
Result<FamilyValues> read_zero3_family(const Source& source, const std::string& directory, const Zero3Names& names,
                                       Family& family, model::Rank& content);

}  // namespace ckptfs::zero
