// Files and links of SOURCE that are shown as they are.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "fs/mount_tree.h"
#include "fs/tag_files.h"

namespace ckptfs {

class MirroredDirectory;

/// Entry `name` of `directory`, whose bytes are those of `path`. `broken`: of the tag that it is a shard of, where that
/// cannot be shown; opening it is an error then.
Outcome<LookedUpEntry> passed_through_entry(MountTree& mount, const MirroredDirectory& directory, std::string_view name,
                                            const std::string& path, const FileInfo& info,
                                            std::shared_ptr<const TagFiles> broken);

/// A link that is shown as one, with this text.
Outcome<LookedUpEntry> plain_link_entry(MountTree& mount, const MirroredDirectory& directory, std::string_view name,
                                        FileInfo info, std::string text);

}  // namespace ckptfs
