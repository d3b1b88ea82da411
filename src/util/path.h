// Names inside SOURCE, whose own directory is "".
#pragma once

#include <string>
#include <string_view>

namespace ckptfs {

[[nodiscard]] inline std::string join_path(std::string_view directory, std::string_view name) {
    std::string path(directory);
    path.append(directory.empty() ? "" : "/").append(name);
    return path;
}

}  // namespace ckptfs
