// The commit that the program was built from.
#pragma once

#include <string_view>

namespace ckptfs::cli {

/// Hexadecimal digits; empty where that is not known. In a file of its own, which cmake/CkptfsCommit.cmake makes.
extern const std::string_view commit;

}  // namespace ckptfs::cli
