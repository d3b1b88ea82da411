// Where a program that uses ckptfs as a library begins: a source, and the reader of the layouts that ckptfs knows.
#pragma once

#include <memory>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"

namespace ckptfs {

/// The directory at `path` as a Source; messages name it as it is written here. Raises the process's soft limit of open
/// files. `not_found` or `io` where it cannot be opened.
Result<std::shared_ptr<const Source>> open_directory(const std::string& path);

/// Reads tag directories of every ZeRO layout that ckptfs knows. Its tags keep the layout settings that are stored in
/// the checkpoint. A tag may be used as long as the Source that it was read from lives.
[[nodiscard]] std::unique_ptr<TagReader> zero_tag_reader();

}  // namespace ckptfs
