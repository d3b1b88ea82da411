// Where the files of a view stand among those of the source.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace ckptfs {

/// A holder is a directory that holds tag directories. A view stands in each place that is named here; what it does not
/// replace there passes through.
struct Placement {
    /// In the tag directory, in the place of Tag::replaced_files().
    bool in_tag = false;
    /// In the holder, the files of its current tag. Tells the names that a view may have there: files of the source
    /// that have such a name are hidden where a tag is shown. Empty: the view does not stand there.
    std::function<bool(std::string_view name)> in_holder = nullptr;
    /// In a directory of its own beside the tag, named like the tag with this behind. Empty: the view has none.
    std::string beside_suffix = {};
    /// With a beside_suffix: the file in the holder that names the current tag. Beside it stands one that has the
    /// suffix behind its name and behind its content.
    std::string pointer = {};
    /// In place of a holder of a tag of this name: the view's first file, under the holder's name. Empty: it is not.
    std::string in_place_of_holder_of = {};
};

}  // namespace ckptfs
