// What a rename makes of the paths of SOURCE that are known.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "util/path.h"

namespace ckptfs {

/// Immutable.
class PathMove {
 public:
    /// What was at `from` is at `to`; with `exchanged`, what was there is at `from`.
    PathMove(std::string from, std::string to, bool exchanged)
        : from_(std::move(from)), to_(std::move(to)), exchanged_(exchanged) {}

    /// Where `path` has gone; nullopt: it has stayed.
    [[nodiscard]] std::optional<std::string> of(std::string_view path) const {
        if (const auto below = path_below(path, from_)) {
            return below->empty() ? to_ : join_path(to_, *below);
        }
        const auto below = exchanged_ ? path_below(path, to_) : std::nullopt;
        return below ? std::optional(below->empty() ? from_ : join_path(from_, *below)) : std::nullopt;
    }
    /// Whether something else was at `path`, or above it, which is gone now.
    [[nodiscard]] bool replaces(std::string_view path) const { return !exchanged_ && path_below(path, to_); }

 private:
    std::string from_;
    std::string to_;
    bool exchanged_;
};

}  // namespace ckptfs
