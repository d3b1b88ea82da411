// Linux's rules for names of files, and the view's own for those that it gives.
#include "view/checked_names.h"

#include <algorithm>
#include <unordered_set>

namespace ckptfs::view {
namespace {

constexpr std::size_t longest_file_name = 255;  // NAME_MAX

Error bad_name(const std::string& display, std::string_view name, const std::string& finding) {
    return {ErrorCode::unsupported,
            display + ": '" + std::string(name) + "' is no name for a file: " + finding + "; rename it and save again"};
}

}  // namespace

Result<void> check_file_name(const std::string& display, std::string_view stem, std::string_view suffix) {
    const std::string name = std::string(stem) + std::string(suffix);
    if (stem.empty() || name == "." || name == "..") {
        return bad_name(display, stem, "it is empty, or means a directory");
    }
    if (name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
        return bad_name(display, stem, "it has a '/' or a NUL in it");
    }
    if (name.size() > longest_file_name) {
        return bad_name(display, stem,
                        "'" + name + "' would have " + std::to_string(name.size()) + " bytes, and at most " +
                            std::to_string(longest_file_name) + " are allowed");
    }
    return {};
}

Result<void> check_directory_name(const std::string& display, std::string_view name) {
    std::string_view rest = name;
    while (true) {
        const std::size_t slash = rest.find('/');
        if (auto checked = check_file_name(display, rest.substr(0, slash), ""); !checked.ok()) {
            return checked.error().within("in the name '" + std::string(name) + "'");
        }
        if (slash == std::string_view::npos) {
            return {};
        }
        rest.remove_prefix(slash + 1);
    }
}

Result<void> check_state_name(const std::string& display, std::string_view state, std::string_view suffix) {
    if (state == "fp32" || state == "step") {
        return Error(ErrorCode::unsupported,
                     display + ": the optimizer keeps a state called '" + std::string(state) +
                         "', which is what the masters (fp32) or the count of steps (step) are called here; rename "
                         "the state and save again");
    }
    return check_file_name(display, state, suffix);
}

Result<void> check_paths(const std::string& display, std::vector<std::string> paths) {
    std::unordered_set<std::string> directories;
    for (const std::string& path : paths) {
        for (std::size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0;
             slash = path.rfind('/', slash - 1)) {
            if (!directories.insert(path.substr(0, slash)).second) {
                break;
            }
        }
    }
    std::sort(paths.begin(), paths.end());
    const auto twice = std::adjacent_find(paths.begin(), paths.end());
    if (twice != paths.end()) {
        return Error(ErrorCode::unsupported,
                     display + ": two tensors would both be the file '" + *twice + "'; rename one and save again");
    }
    const auto both =
        std::find_if(paths.begin(), paths.end(), [&](const std::string& path) { return directories.contains(path); });
    if (both != paths.end()) {
        return Error(ErrorCode::unsupported, display + ": '" + *both +
                                                 "' would be a file, and for another tensor's name a directory; "
                                                 "rename one and save again");
    }
    return {};
}

}  // namespace ckptfs::view
