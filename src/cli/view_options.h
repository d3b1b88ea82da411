// What the command line says of the views that are asked for.
#pragma once

#include "ckptfs/result.h"
#include "cli/arguments.h"
#include "view/view_options.h"

namespace ckptfs::cli {

/// Reads --ds-config; without it the settings are those stored in the checkpoint.
Result<view::ViewOptions> read_view_options(const TargetArguments& arguments);

}  // namespace ckptfs::cli
