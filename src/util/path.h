// Names inside SOURCE, whose own directory is "". What a symbolic link leads to outside has an absolute name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ckptfs {

[[nodiscard]] inline std::string join_path(std::string_view directory, std::string_view name) {
    std::string path(directory);
    path.append(directory.empty() || directory.ends_with('/') ? "" : "/").append(name);
    return path;
}

/// The names that `path` is made of, without those that mean nothing ("" and "."). They point into it.
[[nodiscard]] inline std::vector<std::string_view> path_components(std::string_view path) {
    std::vector<std::string_view> components;
    while (!path.empty()) {
        const std::size_t slash = std::min(path.find('/'), path.size());
        if (slash > 0 && path.substr(0, slash) != ".") {
            components.push_back(path.substr(0, slash));
        }
        path.remove_prefix(std::min(slash + 1, path.size()));
    }
    return components;
}

/// Whether `path` cannot name anything in SOURCE: it goes up somewhere, or no system call would take it whole.
[[nodiscard]] inline bool leaves_root(std::string_view path) {
    if (path.find('\0') != std::string_view::npos) {
        return true;
    }
    while (true) {
        const std::size_t slash = path.find('/');
        if (path.substr(0, slash) == "..") {
            return true;
        }
        if (slash == std::string_view::npos) {
            return false;
        }
        path.remove_prefix(slash + 1);
    }
}

/// `path` relative to `directory`, "" for the directory itself; nullopt where it does not lie there.
[[nodiscard]] inline std::optional<std::string> path_below(std::string_view path, std::string_view directory) {
    if (path == directory) {
        return "";
    }
    if (directory.empty()) {
        return path.starts_with('/') ? std::nullopt : std::optional<std::string>(path);
    }
    if (!path.starts_with(directory)) {
        return std::nullopt;
    }
    path.remove_prefix(directory.size());
    if (!directory.ends_with('/')) {
        if (!path.starts_with('/')) {
            return std::nullopt;
        }
        path.remove_prefix(1);
    }
    return std::string(path);
}

}  // namespace ckptfs
