// Where a program that uses ckptfs as a library begins: a source, and the reader of the layouts that ckptfs knows.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "ckptfs/view_request.h"

namespace ckptfs {

/// The directory at `path` as a Source; messages name it as it is written here. Raises the process's soft limit of open
/// files. `not_found` or `io` where it cannot be opened. Files, tags and views that come from it may outlive it: they
/// hold the directory open themselves.
Result<std::shared_ptr<const Source>> open_directory(const std::string& path);

/// Reads tag directories of every ZeRO layout that ckptfs knows. Its tags keep the layout settings that are stored in
/// the checkpoint. A tag keeps the Files of the Source that it was read from, not the Source: it may be used for as
/// long as those Files may, under open_directory() without limit.
[[nodiscard]] std::unique_ptr<TagReader> zero_tag_reader();

/// What a read-only mount of `source` shows under `request`, read in this process: the same names, types, sizes, modes,
/// times and inodes, and the same bytes. A change of `source` is seen as in a mount, within a second; open() looks
/// anew. Opening a file of a tag that cannot be shown is an error that says why; so is following a symbolic link that
/// leads out of what is shown. Files that are open may outlive it. Without a request its root has a directory for each
/// name of a request, of which only some are listed. `invalid_argument` for a request without a name.
Result<std::shared_ptr<const Source>> open_view(std::shared_ptr<const Source> source,
                                                std::shared_ptr<const TagReader> reader,
                                                const std::optional<ViewRequest>& request);

}  // namespace ckptfs
