// The file system identity of one thread. glibc's setgroups() changes all threads, so the system call itself is made.
#include "io/caller_scope.h"

#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <utility>

#include "util/log.h"

namespace ckptfs::io {
namespace {

constexpr std::uint32_t no_id = std::numeric_limits<std::uint32_t>::max();
constexpr mode_t umask_bits = 0777;
#ifdef SYS_setgroups32
constexpr long setgroups_number = SYS_setgroups32;
#else
constexpr long setgroups_number = SYS_setgroups;
#endif

class RememberedCaller final : public Caller {
 public:
    RememberedCaller(const Caller& caller, std::vector<std::uint32_t> groups)
        : uid_(caller.uid()), gid_(caller.gid()), umask_(caller.umask()), groups_(std::move(groups)) {}

    [[nodiscard]] std::uint32_t uid() const override { return uid_; }
    [[nodiscard]] std::uint32_t gid() const override { return gid_; }
    [[nodiscard]] std::uint32_t umask() const override { return umask_; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override { return groups_; }

 private:
    const std::uint32_t uid_;
    const std::uint32_t gid_;
    const std::uint32_t umask_;
    const std::vector<std::uint32_t> groups_;
};

bool must_become(const Caller& caller) {
    return ::geteuid() == 0 && (caller.uid() != 0 || caller.gid() != ::getegid());
}

// Neither call says whether it changed anything, and one with an impossible number says what holds.
bool set_user(uid_t uid) {
    ::setfsuid(uid);
    return static_cast<uid_t>(::setfsuid(no_id)) == uid;
}

bool set_group(gid_t gid) {
    ::setfsgid(gid);
    return static_cast<gid_t>(::setfsgid(no_id)) == gid;
}

bool set_groups(const std::vector<std::uint32_t>& groups) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
    return ::syscall(setgroups_number, groups.size(), groups.data()) == 0;
}

/// `number`: of capget or capset.
template <class Data>
bool exchange_capabilities(long number, Data* data) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    return ::syscall(number, &header, data) == 0;  // NOLINT(cppcoreguidelines-pro-type-vararg)
}

/// The umask belongs to what the threads of a process share, until they do not.
bool has_own_umask() {
    thread_local bool is_own = false;
    is_own = is_own || ::unshare(CLONE_FS) == 0;
    return is_own;
}

}  // namespace

Outcome<std::shared_ptr<const Caller>> remember(const Caller& caller) {
    std::vector<std::uint32_t> groups;
    if (must_become(caller)) {
        auto found = caller.groups();
        if (!found.ok()) {
            return found.failure();
        }
        groups = std::move(found.value);
    }
    return std::shared_ptr<const Caller>(std::make_shared<const RememberedCaller>(caller, std::move(groups)));
}

CallerScope::CallerScope(const Caller& caller, Umask umask, Kept kept) {
    if (caller.uid() == no_id || caller.gid() == no_id) {  // which the calls below would take for "as it is"
        error_ = EOVERFLOW;
        return;
    }
    if (::geteuid() != 0 && caller.is_known() && caller.uid() != ::geteuid()) {  // whom a mount let in by somebody else
        error_ = EACCES;
        return;
    }
    if (umask == Umask::applied && !has_own_umask()) {
        error_ = errno;
        return;
    }
    if (must_become(caller)) {
        auto groups = caller.groups();
        error_ = groups.ok() ? become(caller, groups.value, kept) : groups.error;
        if (error_ != 0) {
            return;
        }
    }
    if (umask == Umask::applied) {
        umask_ = ::umask(caller.umask() & umask_bits);
        has_umask_ = true;
    }
}

CallerScope::~CallerScope() {
    if (has_umask_) {
        ::umask(umask_);
    }
    if (is_changed_) {
        restore();
    }
}

int CallerScope::become(const Caller& caller, const std::vector<std::uint32_t>& groups, Kept kept) {
    const int count = ::getgroups(0, nullptr);
    groups_.resize(static_cast<std::size_t>(std::max(count, 0)));
    if (count < 0 || ::getgroups(count, groups_.data()) < 0 ||
        !exchange_capabilities(SYS_capget, capabilities_.data())) {
        return errno;
    }
    uid_ = static_cast<uid_t>(::setfsuid(no_id));
    gid_ = static_cast<gid_t>(::setfsgid(no_id));
    is_changed_ = true;
    if (!set_groups(groups)) {
        const int failure = errno;
        restore();
        is_changed_ = false;
        return failure;
    }
    Capabilities left = capabilities_;
    for (__user_cap_data_struct& word : left) {
        word.effective = 0;
    }
    if (kept == Kept::sys_admin) {
        left[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective =
            capabilities_[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
    }
    // With the user go the capabilities over files; what else there is counts too: CAP_SETFCAP and CAP_SYS_ADMIN for
    // attributes, CAP_SYS_RESOURCE for quotas and reserved blocks.
    if (!set_group(caller.gid()) || !set_user(caller.uid()) ||
        (caller.uid() != 0 && !exchange_capabilities(SYS_capset, left.data()))) {
        restore();
        is_changed_ = false;
        return EPERM;
    }
    return 0;
}

void CallerScope::restore() const {
    // The capabilities first: groups need one.
    if (!exchange_capabilities(SYS_capset, capabilities_.data()) || !set_user(uid_) || !set_group(gid_) ||
        !set_groups(groups_)) {
        log::error("a thread that acted as a caller cannot become what it was: ckptfs ends, since it cannot go on");
        std::abort();
    }
}

}  // namespace ckptfs::io
