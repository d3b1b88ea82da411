// Where an export goes to, looked at before anything is written.
#pragma once

#include <string>

#include "ckptfs/result.h"

namespace ckptfs::exporting {

struct Destination {
    std::string path;       ///< absolute, its directory without symbolic links
    std::string parent;     ///< the directory that it is made in, which is there
    std::string partial;    ///< beside it: holds all until the last step
    bool is_taken = false;  ///< there is something that an export does not replace
};

/// `path`: absolute. `source`: the path of the checkpoint. `invalid_argument` where no export can go there, whatever is
/// done meanwhile: in the source, where it or its partial is or holds that, on a mount point, or without a parent.
Result<Destination> find_destination(const std::string& path, const std::string& source);

/// Whether something is at `path`, which is absolute, that an export does not replace.
Result<bool> is_taken_now(const std::string& path);

/// Of one that is taken.
[[nodiscard]] Error destination_is_taken(const Destination& destination);

}  // namespace ckptfs::exporting
