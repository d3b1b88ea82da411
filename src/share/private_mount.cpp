// Namespaces by system calls, before exec: the program that comes then has the rights that it always had.
#include "share/private_mount.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "host/mount_point.h"
#include "share/user_namespace.h"
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

Result<void> enter_namespaces(const std::string& directory, const std::string& user_namespace) {
    const bool is_root = ::geteuid() == 0;
    if (!is_root) {
        if (const auto entered = enter_user_namespace(user_namespace); !entered) {
            return cannot_cover(directory, entered.error().message());
        }
    }
    if (::unshare(CLONE_NEWNS) != 0) {
        const std::string reason = reason_of(errno);
        return cannot_cover(directory, "no mount namespace: " + reason + "; " +
                                           (is_root ? "a container needs CAP_SYS_ADMIN for it (docker run --cap-add "
                                                      "SYS_ADMIN --security-opt apparmor=unconfined)"
                                                    : advice_on_namespaces()));
    }
    return {};
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
    std::string advice;
    if (::geteuid() != 0 && (failure == EPERM || failure == EACCES)) {
        advice = "; " + advice_on_namespaces();
    } else if (failure == EINVAL) {
        advice =
            "; '/' is no mount point here, as in a chroot: bind it over itself before chroot(1), or use a container";
    }
    return cannot_cover(directory, action + reason_of(failure) + advice);
}

}  // namespace

Result<Coverable> make_coverable(const std::string& directory) {
    std::error_code failure;
    const bool is_new = std::filesystem::create_directories(directory, failure);
    if (failure && !std::filesystem::is_directory(directory)) {  // else somebody else was faster
        return Error(ErrorCode::io, in_quotes(directory) + " cannot be made: " + failure.message(), failure.value());
    }
    CKPTFS_ASSIGN(std::string real, real_path(directory));
    if (is_below_or_same("/proc", real) || is_below_or_same(real, "/proc")) {
        return Error(ErrorCode::invalid_argument, in_quotes(directory) +
                                                      " cannot be shown in place: every program needs what it holds; "
                                                      "give the directory of the checkpoints alone");
    }
    return Coverable{std::move(real), is_new};
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

Result<void> cover_for_this_process(const std::string& view, const std::string& directory,
                                    const std::string& user_namespace) {
    std::error_code no_directory;
    const std::string working_directory = std::filesystem::current_path(no_directory).string();
    CKPTFS_TRY(enter_namespaces(directory, user_namespace));
    CKPTFS_TRY(mount_over(view, directory));
    if (!no_directory && is_below_or_same(working_directory, directory) && ::chdir(working_directory.c_str()) != 0) {
        return cannot_cover(directory, "the working directory " + in_quotes(working_directory) +
                                           " cannot be entered in it: " + reason_of(errno));
    }
    return {};
}

Result<void> expect_view_at(const std::string& directory) {
    const auto entry = mounted_on(directory);
    return entry && entry->type == mount_type
               ? Result<void>()
               : cannot_cover(directory, "its daemon has just ended; run the same command again");
}

}  // namespace ckptfs::share
