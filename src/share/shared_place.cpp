// Naming, making and removing the place of a shared mount.
#include "share/shared_place.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "fs/identity.h"
#include "host/mount_control.h"
#include "host/mount_point.h"
#include "util/text.h"

namespace ckptfs::share {
namespace {

constexpr mode_t private_mode = 0700;

bool is_usable_directory(const std::string& path, bool must_be_owned) {
    struct stat found {};
    return path.starts_with('/') && ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) &&
           (!must_be_owned || found.st_uid == ::geteuid()) && ::access(path.c_str(), W_OK | X_OK) == 0;
}

Error system_failure(const std::string& path, const char* what, int reason) {
    return {ErrorCode::io, in_quotes(path) + what + std::generic_category().message(reason), reason};
}

Result<struct stat> status_of_path(const std::string& path) {
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0) {
        const int reason = errno;
        return Error(reason == ENOENT || reason == ENOTDIR ? ErrorCode::not_found : ErrorCode::io,
                     in_quotes(path) + ": " + std::generic_category().message(reason), reason);
    }
    return found;
}

std::string content_of(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// Mounts are seen in one mount namespace only, locks perhaps by every machine that shares the directory.
Result<void> add_machine(IdentityHasher& hasher) {
    CKPTFS_ASSIGN(const struct stat mount_namespace, status_of_path("/proc/self/ns/mnt"));
    hasher.add(content_of("/proc/sys/kernel/random/boot_id")).add(mount_namespace.st_ino);
    return {};
}

Result<void> add_mount(IdentityHasher& hasher, const MountIdentity& mount) {
    CKPTFS_ASSIGN(const struct stat directory, status_of_path(mount.source));
    hasher.add(directory.st_dev).add(directory.st_ino);
    hasher.add(mount.config_file.empty() ? 0U : 1U).add(content_of(mount.config_file));
    for (const auto& [name, value] : mount.options) {
        hasher.add(name).add(value);
    }
    return {};
}

std::string hexadecimal(const Identity& identity) {
    std::array<char, 33> text{};
    std::snprintf(text.data(), text.size(), "%016llx%016llx", static_cast<unsigned long long>(identity.inode),
                  static_cast<unsigned long long>(identity.check));
    return text.data();
}

Result<void> make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), private_mode) != 0 && errno != EEXIST) {
        const int reason = errno;
        return Error(reason == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                     in_quotes(path) + " cannot be made: " + std::generic_category().message(reason), reason);
    }
    return {};
}

// In a directory like /tmp anybody may have been here first.
Result<void> expect_private(const std::string& path) {
    struct stat found {};
    if (::lstat(path.c_str(), &found) != 0) {
        const int reason = errno;
        return reason == ENOENT ? Error(ErrorCode::not_found, in_quotes(path) + " is gone")
                                : system_failure(path, ": ", reason);
    }
    if (!S_ISDIR(found.st_mode) || found.st_uid != ::geteuid() || (found.st_mode & 077U) != 0) {
        return Error(ErrorCode::mount, in_quotes(path) +
                                           " must be a directory that is yours alone (mode 0700); remove what is "
                                           "there, or set TMPDIR to another directory");
    }
    return {};
}

}  // namespace

// Jobs inherit an XDG_RUNTIME_DIR that their node does not have, and `su` keeps that of another user.
std::string runtime_directory(const Variables& variables) {
    const auto runtime = variables("XDG_RUNTIME_DIR");
    if (runtime && is_usable_directory(*runtime, true)) {
        return *runtime;
    }
    const auto temporary = variables("TMPDIR");
    return temporary && is_usable_directory(*temporary, false) ? *temporary : "/tmp";
}

Result<SharedPlace> SharedPlace::find(const MountIdentity& mount, const Variables& variables) {
    IdentityHasher hasher;
    CKPTFS_TRY(add_machine(hasher));
    CKPTFS_TRY(add_mount(hasher, mount));
    CKPTFS_ASSIGN(const std::string runtime, real_path(runtime_directory(variables)));
    return SharedPlace(runtime + "/ckptfs-" + std::to_string(::geteuid()), hexadecimal(hasher.identity()));
}

Result<void> SharedPlace::make() const {
    CKPTFS_TRY(make_directory(parent_));
    CKPTFS_TRY(expect_private(parent_));
    return make_directory(directory_);
}

Result<void> SharedPlace::make_mount_point() const {
    return make_directory(view());
}

bool SharedPlace::is_mounted() const {
    const auto entry = mounted_on(view());
    return entry && entry->type == mount_type;
}

Result<void> SharedPlace::clear_mount() const {
    return is_mounted() ? unmount(view(), Unmounting::lazily) : Result<void>();
}

Result<void> SharedPlace::remove() const {
    auto cleared = clear_mount();
    ::rmdir(view().c_str());
    ::unlink(daemon().c_str());
    ::unlink(users().c_str());    // from now on whoever comes begins anew,
    ::rmdir(directory_.c_str());  // and may have begun already
    ::rmdir(parent_.c_str());     // where others have views it stays
    return cleared;
}

}  // namespace ckptfs::share
