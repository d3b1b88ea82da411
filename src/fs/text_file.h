// Small files whose bytes the mount itself makes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/mount_tree.h"

namespace ckptfs {

/// Them alone.
[[nodiscard]] std::shared_ptr<const File> bytes_of_text(std::string text);

/// A file of these bytes. `identity`: of its path. `info`: what it has owner, mode and times of. `is_current` says,
/// when the file is opened, whether those are its bytes still.
Outcome<LookedUpEntry> text_entry(MountTree& mount, IdentityHasher identity, const FileInfo& info, std::string text,
                                  Lifetime lifetime, std::function<bool()> is_current);

}  // namespace ckptfs
