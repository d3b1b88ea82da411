// The tag of which a directory that holds tags shows files.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "fs/source_directory.h"
#include "fs/tag_generation.h"

namespace ckptfs {

struct CurrentTag {
    std::optional<std::string> named;            ///< what the reader says that it is, see TagReader::named_tag()
    std::shared_ptr<SourceDirectory> directory;  ///< nullptr: there is none, for the reason in `problem`
    std::shared_ptr<TagGeneration> generation;
    std::optional<Error> problem;
    mutable std::atomic<bool> reported = false;  ///< the problem, in the log
    /// Newer ones that are not whole: held, so that they are not read again while nothing about them changes.
    std::vector<std::shared_ptr<SourceDirectory>> passed_over;
};

/// The one that is named in `holder`; where none is, the newest whole one, or the newest where none is whole. Reads as
/// many tags as that takes. nullptr: the directory holds none.
std::shared_ptr<const CurrentTag> find_current_tag(SourceTree& tree, const std::string& holder,
                                                   const SourceDirectory::Snapshot& snapshot);

/// Looks anew at what names it. Where it is another, the holder expires.
[[nodiscard]] bool is_current_tag_of(SourceDirectory& holder, const TagGeneration& generation);
/// The same for a `current` that has a problem in place of a tag.
[[nodiscard]] bool is_still_without_tag(SourceDirectory& holder, const CurrentTag& current);

}  // namespace ckptfs
