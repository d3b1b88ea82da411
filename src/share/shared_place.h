// Where the mount that several `ckptfs run` share lies: a directory with the mount point and two files that are locked.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "share/job_world_size.h"

namespace ckptfs::share {

/// Where this user's temporary things lie: $XDG_RUNTIME_DIR, $TMPDIR or /tmp, whichever can be used first.
[[nodiscard]] std::string runtime_directory(const Variables& variables);

/// What two processes must have in common to share a mount.
struct MountIdentity {
    std::string source;  ///< absolute; the directory that it leads to is what counts
    std::string
        config_file;  ///< absolute, or empty; what it holds counts, and a file that cannot be read holds nothing
    /// Everything else that was asked for, by name.
    std::vector<std::pair<std::string, std::string>> options;
};

/// Paths below it hold no character that glob() takes for a pattern, as trainers put them into patterns unescaped.
class SharedPlace {
 public:
    /// The same place for all that name the same mount, in one mount namespace of one boot of one machine. Nothing is
    /// made there. `not_found` where there is no source.
    static Result<SharedPlace> find(const MountIdentity& mount, const Variables& variables);

    /// The mount point.
    [[nodiscard]] std::string view() const { return directory_ + "/view"; }
    /// Locked, shared, by everybody who uses the mount; exclusively by who ends it.
    [[nodiscard]] std::string users() const { return directory_ + "/users"; }
    /// Locked by the daemon that serves the mount.
    [[nodiscard]] std::string daemon() const { return directory_ + "/daemon"; }
    /// Locked by who starts a daemon.
    [[nodiscard]] const std::string& directory() const { return directory_; }

    /// Makes the directories. They are this user's alone, or it fails.
    Result<void> make() const;
    Result<void> make_mount_point() const;
    /// Whether ckptfs is mounted at view().
    [[nodiscard]] bool is_mounted() const;
    /// Clears a mount whose daemon is gone. An error where it stays.
    Result<void> clear_mount() const;
    /// Removes everything. Only for who has the exclusive lock of users(). An error where a mount stays.
    Result<void> remove() const;

 private:
    SharedPlace(std::string parent, const std::string& name)
        : parent_(std::move(parent)), directory_(parent_ + "/" + name) {}

    std::string parent_;
    std::string directory_;
};

}  // namespace ckptfs::share
