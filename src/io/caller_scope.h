// Acting as the caller of an operation, on the thread that performs it.
#pragma once

#include <linux/capability.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/caller.h"
#include "util/outcome.h"

namespace ckptfs::io {

/// A copy of who a caller is. The groups are asked for where this process would act with them only.
Outcome<std::shared_ptr<const Caller>> remember(const Caller& caller);

/// While it lives, this thread, and no other, asks for files as the caller does: with its user, group and supplementary
/// groups, and with no capability unless the caller is root. Only a process of root's has to change for that, and only
/// for callers other than itself; any other serves its own user, whatever group that has chosen. Limits of resources
/// stay those of this process.
/// No thread may be started meanwhile (it would inherit all that), and scopes are not nested. A process that cannot
/// return to what it was is aborted.
class CallerScope {
 public:
    /// Only what makes a new file needs the caller's umask, which is applied by the kernel: not at all where the
    /// directory has a default access control list. The thread has a umask, and a working directory, of its own from
    /// then on.
    enum class Umask : std::uint8_t { unused, applied };

    /// The kernel takes a file to read and write by itself from nobody without CAP_SYS_ADMIN, and goes on with the
    /// rights that it saw then.
    enum class Kept : std::uint8_t { nothing, sys_admin };

    explicit CallerScope(const Caller& caller, Umask umask = Umask::unused, Kept kept = Kept::nothing);
    CallerScope(const CallerScope&) = delete;
    CallerScope& operator=(const CallerScope&) = delete;
    ~CallerScope();

    /// Not 0: the thread is not the caller, and nothing may be done; answer with it.
    [[nodiscard]] int error() const { return error_; }

 private:
    using Capabilities = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

    int become(const Caller& caller, const std::vector<std::uint32_t>& groups, Kept kept);
    void restore() const;

    int error_ = 0;
    bool is_changed_ = false;
    bool has_umask_ = false;
    mode_t umask_ = 0;
    uid_t uid_ = 0;
    gid_t gid_ = 0;
    std::vector<std::uint32_t> groups_;
    Capabilities capabilities_{};
};

}  // namespace ckptfs::io
