// The directory that a Source is about, which can be replaced under its name.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "ckptfs/result.h"
#include "io/descriptor_pool.h"
#include "io/system_calls.h"
#include "io/unique_fd.h"

namespace ckptfs::io {

/// `held`: whatever its path comes to name, which is a mount over the directory as soon as one is made there.
enum class RootIs : std::uint8_t { followed, held };

/// Holds a descriptor of the directory that a path named when somebody looked last. Safe for concurrent use.
class RootDirectory {
 public:
    /// A relative path stays relative to what is the working directory now. `not_found` or `io`.
    static Result<std::unique_ptr<RootDirectory>> open(std::string path, std::shared_ptr<const SystemCalls> calls,
                                                       RootIs root_is = RootIs::followed);

    /// As the user wrote it.
    [[nodiscard]] const std::string& path() const { return path_; }

    /// An O_PATH descriptor; whoever keeps it goes on with the same directory. `stale` where the path named none.
    [[nodiscard]] Result<SharedFd> descriptor() const;

    /// Follows the path to another directory. A view of ckptfs that was mounted over it is not followed: the daemon
    /// would read its own mount. Nothing for one that is held.
    void refresh();

 private:
    RootDirectory(std::string path, std::shared_ptr<const SystemCalls> calls, UniqueFd base, UniqueFd root,
                  RootIs root_is);

    void set(SharedFd root);

    const std::string path_;
    const std::shared_ptr<const SystemCalls> calls_;
    const RootIs root_is_;
    const UniqueFd base_;  // what a relative path is relative to

    std::mutex refreshing_;  // one at a time, and nobody waits: the path may lead through this program's own mount
    mutable std::mutex mutex_;
    SharedFd root_;
    bool gone_ = false;
};

}  // namespace ckptfs::io
