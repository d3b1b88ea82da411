// What a SOURCE shows under a command line: one answer for all commands, with a mount and without.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "cli/arguments.h"
#include "cli/environment.h"
#include "fs/file_system.h"
#include "fs/view_tree.h"
#include "view/view_options.h"

namespace ckptfs::cli {

/// Beyond what is shown, who may see it, and what a mount says of itself.
struct ShowOptions {
    ShownArguments shown;
    bool allow_other = false;
    bool in_place = false;
    std::shared_ptr<ReadAhead> read_ahead = nullptr;  ///< see FileSystemOptions
    OwnFiles own_files = {};                          ///< of a mount
    /// Called where what can be written holds no tag: a job may just begin.
    std::function<void()> on_no_tag = nullptr;
};

/// Receives a sentence about what was found.
using Warn = std::function<void(const std::string& message)>;

/// Looks for the tag to start from. Fails where there is none that can be shown, unless `allow_empty` says otherwise.
Result<std::unique_ptr<FileSystem>> show(const WritableSource& opened, const std::shared_ptr<const TagReader>& reader,
                                         const ShowOptions& options, const Warn& warn);

/// The same, opened and read in this process.
Result<std::shared_ptr<const ViewTree>> open_shown(const ShownArguments& arguments, const Environment& environment,
                                                   const Warn& warn);
/// With what read_view_options() has said of the arguments.
Result<std::shared_ptr<const ViewTree>> open_shown(const ShownArguments& arguments,
                                                   const view::ViewOptions& view_options,
                                                   const Environment& environment, const Warn& warn);

}  // namespace ckptfs::cli
