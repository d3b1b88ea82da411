// Where the directories of the source are shown in the mount, and what a symbolic link in them becomes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace ckptfs {

/// A directory that is shown with everything below it: SOURCE at the mount's own root, or one outside SOURCE in the
/// place of a symbolic link that leads to it. Immutable.
struct ShownRoot {
    std::string path;                                  ///< in the source, without symbolic links
    std::string shown_at;                              ///< in the mount
    std::shared_ptr<const ShownRoot> outer = nullptr;  ///< what the link lies in; nullptr for SOURCE
    unsigned depth = 0;                                ///< how many links lie above
    /// The file in it that a link leads to, where that alone is shown: the way to it counts for its permissions.
    std::string lone_file = {};

    /// Where the directory `directory` of the source, which lies below, is shown.
    [[nodiscard]] std::string place_of(std::string_view directory) const;
};

/// Directories outside SOURCE that are shown in links out of each other: more are not. Nothing is shown within itself,
/// but n directories that each link to all others have n! ways through them; this leaves n^3.
inline constexpr unsigned max_shown_depth = 3;

/// Whether a link with this text, in the directory `directory` below `root`, can be shown as it is: followed in the
/// mount, it stays below the root, where every directory on its way is shown by these same rules.
[[nodiscard]] bool stays_below(const ShownRoot& root, std::string_view directory, std::string_view text);

/// The text of a link in the directory that is shown at `from` to what is shown at `to`.
[[nodiscard]] std::string relative_link(std::string_view from, std::string_view to);

/// What a link that is not to be followed shows as its text. It leads nowhere, and says where the source's leads; the
/// kernel writes paths like this that a process cannot reach.
[[nodiscard]] std::string unreachable_link(std::string_view text);

}  // namespace ckptfs
