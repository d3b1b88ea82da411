// What stays of a SOURCE where one tag of it is wanted.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "ckptfs/placement.h"
#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"

namespace ckptfs::report {

/// Paths relative to SOURCE.
struct TagSelection {
    std::set<std::string> hidden;  ///< other tags, what stands beside them, and pointers that have nothing to name

    std::set<std::string> lacking;  ///< directories that hold tags, and not this one

    struct Pointer {
        std::string text;
        std::int64_t mtime_ns = 0;  ///< of the tag's directory
    };
    std::map<std::string, Pointer> pointers;  ///< files that name the current tag, and are to name this one
};

/// `tag`: a path from the directories that hold tags; those that do not have it show none. `invalid_argument` where
/// none has it, and for a SOURCE that is itself a tag.
Result<TagSelection> select_tag(const Source& source, const TagReader& reader, const std::string& tag,
                                const Placement& placement);

}  // namespace ckptfs::report
