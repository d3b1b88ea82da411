// Names of tags as DeepSpeed takes them: in the file `latest`, and on the command line.
#pragma once

#include <string>
#include <string_view>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

namespace ckptfs::zero {

/// Of the file in which DeepSpeed notes the last tag.
inline constexpr const char* latest_name = "latest";

/// The directory below `parent` that `name` leads to, relative to SOURCE and in the form in which tags are listed:
/// "./epoch1//step5/" is "epoch1/step5". `invalid_argument` where it is empty, absolute or leaves `parent`.
Result<std::string> tag_directory(const Source& source, const std::string& parent, std::string_view name);

/// The directory that the file `latest` in `parent` names, relative to SOURCE.
Result<std::string> read_latest(const Source& source, const std::string& parent);

}  // namespace ckptfs::zero
