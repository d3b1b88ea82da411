// Where the mount that several `ckptfs run` share lies: a directory with the mount point and two files that are locked.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "cli/arguments.h"
#include "cli/job_world_size.h"

namespace ckptfs::cli {

/// Paths below it hold no character that glob() takes for a pattern, as trainers put them into patterns unescaped.
class SharedPlace {
 public:
    /// The place for these arguments, whose paths are absolute. The same for all that ask for the same view of the same
    /// directory with the same options, in one mount namespace of one boot of one machine; nothing is made there.
    static Result<SharedPlace> find(const MountArguments& arguments, const Variables& variables);

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
    /// Clears a mount whose daemon is gone.
    void clear_mount() const;
    /// Removes everything. Only for who has the exclusive lock of users().
    void remove() const;

 private:
    SharedPlace(std::string parent, const std::string& name)
        : parent_(std::move(parent)), directory_(parent_ + "/" + name) {}

    std::string parent_;
    std::string directory_;
};

}  // namespace ckptfs::cli
