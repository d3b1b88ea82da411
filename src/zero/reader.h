// Reads a tag directory into zero::Written: metadata and a sample of the weights, everything checked, nothing of what a
// pickle says executed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "zero/opened_families.h"
#include "zero/read_options.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Whether a directory with this listing is a tag: it holds ZeRO model states or ZeRO optimizer files, and no `zero/`
/// (which makes it a universal checkpoint).
[[nodiscard]] bool is_tag(const std::vector<DirectoryEntry>& listing);

/// The names in a tag directory that a world size decides about: model states and optimizer files of every rank,
/// those that an older, larger run left behind included.
[[nodiscard]] std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing);

/// Those that no world size decides about, but that belong to the same save: a pipeline's layers.
[[nodiscard]] std::vector<std::string> layer_files(const std::vector<DirectoryEntry>& listing);

/// `directory` is relative to the source. Errors name the file, what was expected and found, and what to do:
/// `incomplete` (missing or truncated files, weights only), `inconsistent` (ranks of different saves), `damaged`,
/// `unsupported` (docs/support.md), `io`, `stale` (it changed while it was read). `opened` receives the model states
/// that were opened, also where it fails: for read_weights().
Result<std::shared_ptr<const Written>> read_checkpoint(const Source& source, const std::string& directory,
                                                       const ReadOptions& options = {},
                                                       OpenedFamilies* opened = nullptr);

}  // namespace ckptfs::zero
