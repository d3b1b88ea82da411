// Namespaces by system calls, before exec: the program that comes then has the rights that it always had.
#include "share/private_mount.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "fuse/mount_point.h"
#include "io/unique_fd.h"
#include "util/text.h"

namespace ckptfs::share {
namespace {

bool is_below_or_same(const std::string& path, const std::string& directory) {
    return path == directory || path.starts_with(directory == "/" ? directory : directory + "/");
}

std::string reason_of(int failure) {
    return std::generic_category().message(failure);
}

Error cannot_cover(const std::string& directory, const std::string& why) {
    return {ErrorCode::mount, in_quotes(directory) + " cannot be shown in place to COMMAND alone: " + why};
}

/// The number in a file of /proc/sys; -1 where there is none.
long setting(const char* path) {
    std::ifstream file(path);
    long value = -1;
    return file >> value ? value : -1;
}

/// What keeps users who are not root from a user namespace, and what would help.
std::string advice_for_users() {
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
    return "this system gives a user who is not root no namespaces: a container must allow unshare and mount in a user "
           "namespace (seccomp, AppArmor)" +
           otherwise;
}

/// Returns an errno.
int write_text(const char* path, const std::string& text) {
    const io::UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    if (!file.valid() || ::write(file.get(), text.data(), text.size()) < 0) {
        return errno;
    }
    return 0;
}

/// Ids stay what they are; those of others are not mapped. Returns an errno.
int map_ids_to_themselves(uid_t user, gid_t group) {
    const auto line = [](unsigned id) { return std::to_string(id) + " " + std::to_string(id) + " 1\n"; };
    for (const auto& [path, text] :
         {std::pair("/proc/self/setgroups", std::string("deny")), std::pair("/proc/self/uid_map", line(user)),
          std::pair("/proc/self/gid_map", line(group))}) {
        if (const int failure = write_text(path, text)) {
            return failure;
        }
    }
    return 0;
}

Result<void> enter_namespaces(const std::string& directory) {
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (user == 0) {
        if (::unshare(CLONE_NEWNS) != 0) {
            return cannot_cover(directory, "no mount namespace: " + reason_of(errno) +
                                               "; a container needs CAP_SYS_ADMIN for it (docker run --cap-add "
                                               "SYS_ADMIN --security-opt apparmor=unconfined)");
        }
        return {};
    }
    int failure = ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 ? 0 : errno;
    const char* const action = failure != 0 ? "no user namespace: " : "no ids in a user namespace: ";
    if (failure == 0) {
        failure = map_ids_to_themselves(user, group);
    }
    return failure == 0 ? Result<void>()
                        : cannot_cover(directory, action + reason_of(failure) + "; " + advice_for_users());
}

/// What is mounted here stays here; what others mount and unmount is seen here too, or their mounts would live on in
/// this namespace.
Result<void> mount_over(const std::string& view, const std::string& directory) {
    const char* action = "its mounts cannot be kept apart: ";
    int failure = ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0 ? 0 : errno;
    if (failure == 0) {
        action = "it cannot be mounted over: ";
        failure = ::mount(view.c_str(), directory.c_str(), nullptr, MS_BIND, nullptr) == 0 ? 0 : errno;
    }
    if (failure == 0) {
        return {};
    }
    const bool is_users_right = ::geteuid() != 0 && (failure == EPERM || failure == EACCES);
    return cannot_cover(directory, action + reason_of(failure) + (is_users_right ? "; " + advice_for_users() : ""));
}

}  // namespace

Result<std::string> make_coverable(const std::string& directory) {
    std::error_code failure;
    std::filesystem::create_directories(directory, failure);
    if (failure && !std::filesystem::is_directory(directory)) {  // else somebody else was faster
        return Error(ErrorCode::io, in_quotes(directory) + " cannot be made: " + failure.message(), failure.value());
    }
    CKPTFS_ASSIGN(std::string real, real_path(directory));
    if (is_below_or_same("/proc", real) || is_below_or_same(real, "/proc")) {
        return Error(ErrorCode::invalid_argument, in_quotes(directory) +
                                                      " cannot be shown in place: every program needs what it holds; "
                                                      "give the directory of the checkpoints alone");
    }
    return real;
}

Result<void> expect_outside(const std::string& place, const std::string& directory) {
    if (!is_below_or_same(place, directory)) {
        return {};
    }
    return Error(ErrorCode::invalid_argument,
                 in_quotes(directory) +
                     " cannot be shown in place: it holds the directory for the mounts of `ckptfs "
                     "run`, " +
                     in_quotes(place) + "; set TMPDIR to a directory outside it, and unset XDG_RUNTIME_DIR");
}

Result<void> cover_for_this_process(const std::string& view, const std::string& directory) {
    std::error_code no_directory;
    const std::string working_directory = std::filesystem::current_path(no_directory).string();
    CKPTFS_TRY(enter_namespaces(directory));
    CKPTFS_TRY(mount_over(view, directory));
    if (!no_directory && is_below_or_same(working_directory, directory) && ::chdir(working_directory.c_str()) != 0) {
        return cannot_cover(directory, "the working directory " + in_quotes(working_directory) +
                                           " cannot be entered in it: " + reason_of(errno));
    }
    return {};
}

Result<void> expect_view_at(const std::string& directory) {
    const auto entry = mounted_on(directory);
    return entry && entry->type == "fuse.ckptfs"
               ? Result<void>()
               : cannot_cover(directory, "its daemon has just ended; run the same command again");
}

}  // namespace ckptfs::share
