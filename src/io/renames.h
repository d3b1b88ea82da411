// What has become of the paths of open files.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>

namespace ckptfs::io {

/// Renames of directories, the last thousand of them. Safe for concurrent use.
class Renames {
 public:
    /// How many there have been.
    [[nodiscard]] std::uint64_t count() const;
    /// `exchanged`: what was at `to` is at `from` now.
    void note(const std::string& from, const std::string& to, bool exchanged);
    /// What was at `path` when there had been `since` of them is there now, as far as they are known still.
    [[nodiscard]] std::string follow(std::string path, std::uint64_t since) const;

 private:
    struct Rename {
        std::string from;
        std::string to;
        bool exchanged;
    };

    mutable std::mutex mutex_;
    std::deque<Rename> last_;
    std::uint64_t count_ = 0;
};

}  // namespace ckptfs::io
