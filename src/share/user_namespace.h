// A user namespace for a user who is not root: what brings the right to mount for some processes alone.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "io/unique_fd.h"

namespace ckptfs::share {

/// One in which this process's user and group are themselves, and everybody else is nobody. It lasts as long as the
/// descriptor, or a process in it. For a process with one thread. `mount` where the system refuses it.
Result<io::UniqueFd> make_user_namespace();

/// Where other processes of this user find the namespace: a path that is good as long as this process holds it.
[[nodiscard]] std::string path_of_namespace(const io::UniqueFd& user_namespace);

/// From here on this process is in the namespace at `path`, or, where there is none, in one of its own that is made as
/// make_user_namespace() does it. It may mount there until it becomes another program. For a process with one thread,
/// which can only end after an error (`mount`).
Result<void> enter_user_namespace(const std::string& path);

/// Why a user who is not root may not mount in a namespace here, and what would help.
[[nodiscard]] std::string advice_on_namespaces();

}  // namespace ckptfs::share
