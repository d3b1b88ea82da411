// What a user is told once, rather than by every command.
#pragma once

#include <string>

#include "share/job_world_size.h"

namespace ckptfs::share {

/// Whether nobody has asked for `what`, a word for a file name, as this user since the machine began, as far as the
/// directory for temporary files remembers it. Where it cannot be written, true.
[[nodiscard]] bool is_first_time(const std::string& what, const Variables& variables);

}  // namespace ckptfs::share
