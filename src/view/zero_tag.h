// Tags of ZeRO checkpoints for the file system: read once, shown under any request.
#pragma once

#include <memory>
#include <string>

#include "ckptfs/view.h"
#include "view/view_options.h"
#include "zero/opened_families.h"

namespace ckptfs::view {

/// The TagReader of all ZeRO layouts that ckptfs knows. Its tags keep `options`.
[[nodiscard]] std::unique_ptr<TagReader> zero_tag_reader(ViewOptions options);

/// The tag in `directory`, of which zero::read_checkpoint() has said `problem` and opened `opened`: reads only what its
/// views without the broken files need besides. For who does not ask for its files: they are not looked at.
[[nodiscard]] std::shared_ptr<const Tag> broken_tag(const Source& source, const std::string& directory,
                                                    const Error& problem, zero::OpenedFamilies opened,
                                                    const ViewOptions& options);

}  // namespace ckptfs::view
