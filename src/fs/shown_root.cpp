// Arithmetic on path components.
#include "fs/shown_root.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "util/path.h"

namespace ckptfs {
namespace {

constexpr std::string_view parent_name = "..";

}  // namespace

std::string ShownRoot::place_of(std::string_view directory) const {
    const std::string below = path_below(directory, path).value_or("");
    return below.empty() ? shown_at : join_path(shown_at, below);
}

bool stays_below(const ShownRoot& root, std::string_view directory, std::string_view text) {
    if (text.starts_with('/')) {
        return false;
    }
    const auto components = path_components(text);
    // After a name, ".." would leave what the name leads to, which the mount may show in another place.
    const auto first_name = std::find_if(components.begin(), components.end(),
                                         [](std::string_view component) { return component != parent_name; });
    if (std::find(first_name, components.end(), parent_name) != components.end()) {
        return false;
    }
    const auto depth = path_components(path_below(directory, root.path).value_or("")).size();
    return static_cast<std::size_t>(first_name - components.begin()) <= depth;
}

std::string relative_link(std::string_view from, std::string_view to) {
    const auto from_components = path_components(from);
    const auto to_components = path_components(to);
    const auto [from_rest, to_rest] =
        std::mismatch(from_components.begin(), from_components.end(), to_components.begin(), to_components.end());
    std::string text;
    for (auto at = from_rest; at != from_components.end(); ++at) {
        text = join_path(text, parent_name);
    }
    for (auto at = to_rest; at != to_components.end(); ++at) {
        text = join_path(text, *at);
    }
    return text.empty() ? "." : text;
}

std::string unreachable_link(std::string_view text) {
    std::string result = "(unreachable)";
    for (const std::string_view component : path_components(text)) {
        if (component != parent_name) {  // should there be a directory of that name, nothing may lead out of it
            result = join_path(result, component);
        }
    }
    return result;
}

}  // namespace ckptfs
