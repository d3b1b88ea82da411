// Processes in different user namespaces may not look into each other, even where they are of one user: MPI could not
// copy between them, nor could a debugger of one see another. So those that share a mount share a namespace.
#include "share/user_namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

#include "host/mount_point.h"

namespace ckptfs::share {
namespace {

/// The number in a file of /proc/sys; -1 where there is none.
long setting(const char* path) {
    std::ifstream file(path);
    long value = -1;
    return file >> value ? value : -1;
}

Error refused(const char* action, int reason) {
    return {ErrorCode::mount, action + std::generic_category().message(reason) + "; " + advice_on_namespaces(), reason};
}

/// Returns an errno.
int write_text(const char* path, const std::string& text) {
    const io::UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    return file.valid() && ::write(file.get(), text.data(), text.size()) >= 0 ? 0 : errno;
}

Result<void> enter_own() {
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (::unshare(CLONE_NEWUSER) != 0) {
        return refused("no user namespace: ", errno);
    }
    const auto itself = [](unsigned id) { return std::to_string(id) + " " + std::to_string(id) + " 1\n"; };
    for (const auto& [path, text] :
         {std::pair("/proc/self/setgroups", std::string("deny")), std::pair("/proc/self/uid_map", itself(user)),
          std::pair("/proc/self/gid_map", itself(group))}) {
        if (const int failure = write_text(path, text)) {
            return refused("no ids in a user namespace: ", failure);
        }
    }
    return {};
}

/// A namespace is had from a process that is in it: says how that went, and stays until the other end is closed.
[[noreturn]] void stay_in_own(int to_parent) noexcept {
    const auto entered = enter_own();
    int reason = entered ? 0 : entered.error().system_errno();
    if (::write(to_parent, &reason, sizeof(reason)) == sizeof(reason)) {
        while (::read(to_parent, &reason, sizeof(reason)) < 0 && errno == EINTR) {
        }
    }
    ::_exit(0);
}

/// False where there is no such namespace, or none of this user's.
bool enter_existing(const std::string& path) {
    const io::UniqueFd found(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    uid_t owner = 0;
    return found.valid() && ::ioctl(found.get(), NS_GET_OWNER_UID, &owner) == 0 && owner == ::geteuid() &&
           ::setns(found.get(), CLONE_NEWUSER) == 0;
}

}  // namespace

std::string advice_on_namespaces() {
    const std::string otherwise = "; or run ckptfs as root";
    if (setting("/proc/sys/user/max_user_namespaces") == 0) {
        return "this system allows no user namespaces: let root set it (sysctl user.max_user_namespaces=10000)" +
               otherwise;
    }
    if (setting("/proc/sys/kernel/unprivileged_userns_clone") == 0) {
        return "this system allows user namespaces to root alone: let root set it (sysctl "
               "kernel.unprivileged_userns_clone=1)" +
               otherwise;
    }
    if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1) {
        return "AppArmor allows user namespaces to root and to programs that it knows: let root give ckptfs a profile "
               "with `userns,`, or set it (sysctl kernel.apparmor_restrict_unprivileged_userns=0)" +
               otherwise;
    }
    if (!mounted_on("/")) {
        return "'/' is no mount point here, as in a chroot, and the kernel gives users no namespaces in one: use a "
               "container instead of chroot(1)" +
               otherwise;
    }
    return "this system gives a user who is not root no namespaces: a container must allow unshare and mount in a user "
           "namespace (seccomp, AppArmor), and in a chroot there are none" +
           otherwise;
}

Result<io::UniqueFd> make_user_namespace() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return refused("no socket for a user namespace: ", errno);
    }
    io::UniqueFd to_child(ends[0]);
    io::UniqueFd to_parent(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) {
        return refused("no process for a user namespace: ", errno);
    }
    if (child == 0) {
        to_child = {};
        stay_in_own(to_parent.get());
    }
    to_parent = {};
    int reason = EIO;
    if (::read(to_child.get(), &reason, sizeof(reason)) != sizeof(reason)) {
        reason = EIO;
    }
    const std::string path = "/proc/" + std::to_string(child) + "/ns/user";
    io::UniqueFd made(reason == 0 ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC) : -1);
    reason = reason == 0 && !made.valid() ? errno : reason;
    to_child = {};
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return made.valid() ? Result<io::UniqueFd>(std::move(made)) : refused("no user namespace: ", reason);
}

std::string path_of_namespace(const io::UniqueFd& user_namespace) {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(user_namespace.get());
}

Result<void> enter_user_namespace(const std::string& path) {
    return enter_existing(path) ? Result<void>() : enter_own();
}

}  // namespace ckptfs::share
