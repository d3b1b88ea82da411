// The error for a file whose bytes contradict themselves.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

namespace ckptfs::pt {

inline Error damaged(const File& file, const std::string& what) {
    return {ErrorCode::damaged, "'" + file.name() + "' is damaged: " + what};
}

}  // namespace ckptfs::pt
