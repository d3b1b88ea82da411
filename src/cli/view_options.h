// What the command line says of the views that are asked for.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "cli/arguments.h"
#include "view/view_options.h"

namespace ckptfs::cli {

/// Reads --ds-config, once; without it the settings are those stored in the checkpoint. `config_text`: becomes the
/// bytes of that file.
Result<view::ViewOptions> read_view_options(const TargetArguments& arguments, std::string* config_text = nullptr);

}  // namespace ckptfs::cli
