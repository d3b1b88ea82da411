// Where a program that uses ckptfs as a library begins: a source, and the reader of the layouts that ckptfs knows.
#pragma once

#include <memory>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"

namespace ckptfs {

/// The directory at `path` as a Source; messages name it as it is written here. Raises the process's soft limit of open
/// files. `not_found` or `io` where it cannot be opened. Files, tags and views that come from it may outlive it: they
/// hold the directory open themselves.
Result<std::shared_ptr<const Source>> open_directory(const std::string& path);

/// Reads tag directories of every ZeRO layout that ckptfs knows. Its tags keep the layout settings that are stored in
/// the checkpoint. A tag keeps the Files of the Source that it was read from, not the Source: it may be used for as
/// long as those Files may, under open_directory() without limit.
[[nodiscard]] std::unique_ptr<TagReader> zero_tag_reader();

}  // namespace ckptfs
