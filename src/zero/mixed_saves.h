// The one way to say that the files of a tag contradict each other.
#pragma once

#include <string>

#include "ckptfs/result.h"

namespace ckptfs::zero {

/// `inconsistent`: `finding`, which names a file, what was expected and what was found, and what to do about it.
[[nodiscard]] inline Error mixed_saves(const std::string& finding) {
    return {ErrorCode::inconsistent,
            finding + "; files of two saves lie in one directory: wait for the running save, or restore the files"};
}

}  // namespace ckptfs::zero
