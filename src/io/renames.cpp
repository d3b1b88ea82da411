// Paths are followed one rename at a time.
#include "io/renames.h"

#include <algorithm>

#include "util/path.h"

namespace ckptfs::io {
namespace {

constexpr std::size_t most_renames = 1000;

bool move(std::string& path, const std::string& from, const std::string& to) {
    const auto below = path_below(path, from);
    if (below) {
        path = below->empty() ? to : join_path(to, *below);
    }
    return below.has_value();
}

}  // namespace

std::uint64_t Renames::count() const {
    const std::lock_guard lock(mutex_);
    return count_;
}

void Renames::note(const std::string& from, const std::string& to, bool exchanged) {
    const std::lock_guard lock(mutex_);
    last_.push_back({from, to, exchanged});
    ++count_;
    if (last_.size() > most_renames) {
        last_.pop_front();
    }
}

std::string Renames::follow(std::string path, std::uint64_t since) const {
    const std::lock_guard lock(mutex_);
    const std::uint64_t first = count_ - last_.size();
    for (std::uint64_t at = std::max(since, first); at < count_; ++at) {
        const Rename& rename = last_[static_cast<std::size_t>(at - first)];
        if (!move(path, rename.from, rename.to) && rename.exchanged) {
            move(path, rename.to, rename.from);
        }
    }
    return path;
}

}  // namespace ckptfs::io
