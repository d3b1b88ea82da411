// Everything that can be wrong with a mount point, each in a sentence that says what to do.
#include "host/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "host/handed_over.h"
#include "host/mount_control.h"

namespace ckptfs {
namespace {

std::string quoted_path(const std::string& path) {
    return "'" + path + "'";
}

Error cannot(const std::string& mount_point, const std::string& why) {
    return {ErrorCode::mount, "cannot mount on " + quoted_path(mount_point) + ": " + why};
}

Error stale_mount(const std::string& mount_point) {
    const auto point = real_mount_point(std::filesystem::absolute(mount_point).string());
    const auto found = point ? mounted_on(*point) : std::nullopt;
    const std::string quoted = quoted_path(mount_point);
    const std::string cure = found && found->type != mount_type ? "fusermount3 -u " + quoted + " (-uz"
                                                                : "ckptfs umount " + quoted + " (--lazy";
    return cannot(mount_point, "it is a stale mount whose daemon is gone; clear it with: " + cure +
                                   " where somebody still has a file or directory of it)");
}

Result<void> check_is_directory(const std::string& mount_point) {
    struct stat found {};
    if (::stat(mount_point.c_str(), &found) != 0) {
        const int reason = errno;
        if (daemon_is_gone(reason)) {
            return stale_mount(mount_point);
        }
        if (reason == ENOENT) {
            return cannot(mount_point, "it does not exist; create an empty directory there");
        }
        return cannot(mount_point, std::generic_category().message(reason));
    }
    if (!S_ISDIR(found.st_mode)) {
        return cannot(mount_point, "it is not a directory; name an empty directory");
    }
    return {};
}

// The mount points of /proc/self/mountinfo have blanks and backslashes as octal escapes.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

Result<void> check_not_mounted(const std::string& mount_point, const std::string& real_mount_point) {
    const auto found = mounted_on(real_mount_point);
    if (found && found->type == mount_type) {
        // The kernel remembers attributes for a while after a daemon's end, but asks for this each time.
        struct statvfs unused {};
        if (::statvfs(mount_point.c_str(), &unused) != 0 && daemon_is_gone(errno)) {
            return stale_mount(mount_point);
        }
        return cannot(mount_point, quoted_path(found->source) +
                                       " is mounted there already; unmount it with: ckptfs umount " +
                                       quoted_path(mount_point));
    }
    return {};
}

bool starts_with_read_only(std::string_view options) {
    return options == "ro" || options.starts_with("ro,");
}

/// Of the options that fuse has for itself, "rw,user_id=1000,group_id=1000".
std::optional<std::uint32_t> user_of(std::string_view options) {
    constexpr std::string_view name = "user_id=";
    const std::size_t at = options.find(name);
    std::uint32_t user = 0;
    const char* const end = options.data() + options.size();
    return at != std::string_view::npos &&
                   std::from_chars(options.data() + at + name.size(), end, user).ec == std::errc()
               ? std::optional(user)
               : std::nullopt;
}

// Whether walking up from `inner` to the root passes `outer`. By device and inode, so that bind mounts and other names
// of the same directory are seen too.
bool lies_within(const std::string& inner, const std::string& outer) {
    struct stat wanted {};
    if (::stat(outer.c_str(), &wanted) != 0) {
        return false;
    }
    std::string at = inner;
    while (true) {
        struct stat found {};
        if (::stat(at.c_str(), &found) == 0 && found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino) {
            return true;
        }
        if (at == "/") {
            return false;
        }
        at.resize(std::max<std::size_t>(at.rfind('/'), 1));
    }
}

// By device and inode.
bool are_the_same(const std::string& one, const std::string& other) {
    struct stat first {};
    struct stat second {};
    return ::stat(one.c_str(), &first) == 0 && ::stat(other.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

Result<void> check_apart(const MountOptions& options, const std::string& source, const std::string& mount_point) {
    const auto clash = [&](const char* relation, const char* otherwise) {
        return Error(ErrorCode::invalid_argument, "cannot mount on " + quoted_path(options.mount_point) + ": it " +
                                                      relation + " the source " + quoted_path(options.source) +
                                                      "; choose a directory outside it" + otherwise);
    };
    if (are_the_same(mount_point, source)) {
        return clash("is", ", or add --writable to mount over it");
    }
    if (lies_within(mount_point, source)) {
        return clash("lies inside", "");
    }
    if (lies_within(source, mount_point)) {
        return clash("contains", "");
    }
    return {};
}

Result<void> check_empty(const std::string& mount_point) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(mount_point.c_str()), &::closedir);
    if (!directory) {
        return cannot(mount_point, std::generic_category().message(errno));
    }
    while (const auto* entry = ::readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe)
        const std::string_view name = static_cast<const char*>(entry->d_name);
        if (name != "." && name != "..") {
            return cannot(mount_point,
                          "it is not empty (it holds " + quoted_path(std::string(name)) + "); name an empty directory");
        }
    }
    return {};
}

Result<void> check_allow_other(bool is_writable) {
    constexpr const char* path = "/etc/fuse.conf";
    if (::geteuid() == 0) {
        return {};
    }
    if (is_writable) {
        return Error(ErrorCode::invalid_argument,
                     "allow_other is for root where the mount is writable: what others write would be this user's; "
                     "mount as root, or leave one of the two out");
    }
    std::ifstream configuration(path);
    std::string line;
    while (std::getline(configuration, line)) {
        std::istringstream words(line);
        std::string word;
        if (words >> word && word == "user_allow_other") {
            return {};
        }
    }
    return Error(ErrorCode::mount, std::string("allow_other is for root unless ") + path +
                                       " has a line 'user_allow_other'; add it, or leave the option out");
}

}  // namespace

bool daemon_is_gone(int reason) {
    return reason == ENOTCONN || reason == ECONNABORTED || reason == ESHUTDOWN;
}

Result<std::string> real_path(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
    if (!real) {
        const int reason = errno;
        return Error(ErrorCode::io,
                     quoted_path(path) + " cannot be resolved: " + std::generic_category().message(reason), reason);
    }
    return std::string(real.get());
}

std::vector<MountEntry> mounts_of_process(const std::function<bool(const MountEntry&)>& is_wanted) {
    std::vector<MountEntry> found;
    std::ifstream mounts("/proc/self/mountinfo");
    std::string line;
    while (std::getline(mounts, line)) {
        // ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS (see proc_pid_mountinfo(5))
        std::istringstream fields(line);
        std::string field;
        std::string options;
        MountEntry entry;
        // Blanks alone part fields; the kernel escapes those of names, but no other white space than that and newlines.
        const auto next = [&fields](std::string& into) { return static_cast<bool>(std::getline(fields, into, ' ')); };
        const auto skip = [&](int count) {
            for (; count > 0; --count) {
                next(field);
            }
        };
        skip(2);
        next(entry.device);
        skip(1);
        next(entry.point);
        next(options);
        while (next(field) && field != "-") {
        }
        next(entry.type);
        next(entry.source);
        next(field);
        entry.user = user_of(field);
        entry.point = unescape(entry.point);
        entry.source = unescape(entry.source);
        entry.is_read_only = starts_with_read_only(options) || starts_with_read_only(field);
        if (is_wanted(entry)) {
            found.push_back(std::move(entry));
        }
    }
    return found;
}

std::optional<MountEntry> mounted_on(const std::string& real_mount_point) {
    auto found = mounts_of_process([&](const MountEntry& entry) { return entry.point == real_mount_point; });
    return found.empty() ? std::nullopt : std::optional(std::move(found.back()));  // later lines lie above
}

Result<void> check_not_in_place(const std::string& path) {
    const auto real = real_path(path);
    std::string at = real ? *real : path;  // a daemon that is gone does not answer for what lies below either
    auto entry = mounted_on(at);
    while (!entry && at != "/") {
        at.resize(std::max<std::size_t>(at.rfind('/'), 1));
        entry = mounted_on(at);
    }
    if (!entry || entry->type != mount_type || entry->source != at) {
        return {};
    }
    struct statvfs unused {};
    if (::statvfs(at.c_str(), &unused) != 0 && daemon_is_gone(errno)) {
        return Error(ErrorCode::mount, quoted_path(at) +
                                           " is covered by a mount of ckptfs over itself whose daemon is gone; in the "
                                           "COMMAND of `ckptfs run --in-place` end COMMAND and run it again, else "
                                           "clear it with: ckptfs umount " +
                                           quoted_path(at));
    }
    return Error(ErrorCode::invalid_argument, quoted_path(path) + " lies in a mount of ckptfs over " + quoted_path(at) +
                                                  " itself, which shows its checkpoints re-cut: do this outside of "
                                                  "the COMMAND of `ckptfs run --in-place`, or after ckptfs umount " +
                                                  quoted_path(at));
}

namespace {

/// Whether a set-uid fusermount3 is on PATH, as libfuse looks for it.
bool has_fusermount() {
    const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody sets any
    std::istringstream directories(path == nullptr ? "" : path);
    for (std::string directory; std::getline(directories, directory, ':');) {
        struct stat found {};
        if (::stat((directory + "/fusermount3").c_str(), &found) == 0 && (found.st_mode & S_ISUID) != 0) {
            return true;
        }
    }
    return false;
}

/// CAP_SYS_ADMIN among the effective capabilities (proc_pid_status(5)).
bool may_mount() {
    constexpr unsigned sys_admin = 21;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("CapEff:")) {
            return (std::strtoull(line.c_str() + std::strlen("CapEff:"), nullptr, 16) >> sys_admin & 1U) != 0;
        }
    }
    return false;
}

}  // namespace

std::string mount_advice() {
    const int device = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    const int reason = device < 0 ? errno : 0;
    if (device >= 0) {
        ::close(device);
    }
    if (reason == ENOENT || reason == ENODEV || reason == ENXIO) {
        return "there is no /dev/fuse here: load the kernel's module (modprobe fuse), or give the container the device "
               "(docker run --device /dev/fuse)";
    }
    if (reason == EACCES || reason == EPERM) {
        return "/dev/fuse may not be opened (" + std::generic_category().message(reason) +
               "): give the container the device (docker run --device /dev/fuse), or this user the right to it";
    }
    if (::geteuid() == 0 && !may_mount()) {
        return "in a container mounting takes CAP_SYS_ADMIN (docker run --cap-add SYS_ADMIN --device /dev/fuse "
               "--security-opt apparmor=unconfined)";
    }
    if (::geteuid() != 0 && !has_fusermount()) {
        return "a user who is not root needs fusermount3, set-uid root, of the package fuse3";
    }
    if (::geteuid() != 0 && ::getpwuid(::geteuid()) == nullptr) {  // NOLINT(concurrency-mt-unsafe): nobody else asks
        return "user " + std::to_string(::geteuid()) +
               " is in no user database, where fusermount3 looks for a name: add a line for it to /etc/passwd";
    }
    return "";
}

Result<void> check_mount_point(const MountOptions& options) {
    if (options.descriptor) {
        return check_handed_over(options);
    }
    CKPTFS_TRY(check_is_directory(options.mount_point));
    CKPTFS_ASSIGN(const auto mount_point, real_path(options.mount_point));
    CKPTFS_ASSIGN(const auto source, real_path(options.source));
    CKPTFS_TRY(check_not_mounted(options.mount_point, mount_point));
    if (options.in_place) {
        if (!are_the_same(source, mount_point)) {
            return Error(ErrorCode::invalid_argument, "cannot mount " + quoted_path(options.source) +
                                                          " over itself: " + quoted_path(options.mount_point) +
                                                          " is another directory by now");
        }
    } else {
        CKPTFS_TRY(check_apart(options, source, mount_point));
        CKPTFS_TRY(check_empty(mount_point));
    }
    if (options.allow_other) {
        CKPTFS_TRY(check_allow_other(options.writable));
    }
    return {};
}

}  // namespace ckptfs
