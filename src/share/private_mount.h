// A mount that one process and its children see in the place of a directory, and nobody else.
#pragma once

#include <string>

#include "ckptfs/result.h"

namespace ckptfs::share {

struct Coverable {
    std::string path;     ///< without symbolic links
    bool is_new = false;  ///< it was not there before
};

/// The directory to be covered, made if it is not there (as mkdir(1) makes it, with those above it). `invalid_argument`
/// where it cannot be covered: the root of the file system, or what holds /proc or lies in it.
Result<Coverable> make_coverable(const std::string& directory);

/// `invalid_argument` where the shared mount's `place` would be covered along with `directory`. Both without symbolic
/// links.
Result<void> expect_outside(const std::string& place, const std::string& directory);

/// From here on this process and its children see `view`, a mount point, in the place of `directory`: in a mount
/// namespace of their own and, where they are not root's, in the user namespace at `user_namespace` or one of their
/// own: see enter_user_namespace(). The working directory is entered again where it lies below. Nothing is left behind
/// once they are gone. `directory` has no symbolic links. For a process with one thread that is about to become another
/// program; after an error (`mount`) it can only end.
Result<void> cover_for_this_process(const std::string& view, const std::string& directory,
                                    const std::string& user_namespace);

/// `mount` where `directory`, which was covered, shows no mount of ckptfs: the daemon may have ended since its mount
/// was joined, and COMMAND would begin anew, in an empty directory that goes with it.
Result<void> expect_view_at(const std::string& directory);

}  // namespace ckptfs::share
