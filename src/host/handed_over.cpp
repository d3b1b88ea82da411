// What can be known of a descriptor of /dev/fuse without a word to the kernel's file system.
#include "host/handed_over.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

#include "host/mount_point.h"
#include "util/path.h"
#include "util/text.h"

namespace ckptfs {
namespace {

constexpr std::string_view directory_of_descriptors = "/dev/fd/";
constexpr unsigned fuse_major = 10;  // Documentation/admin-guide/devices.txt
constexpr unsigned fuse_minor = 229;

Error cannot_serve(int descriptor, const std::string& why) {
    return {ErrorCode::mount, "cannot serve the file system of descriptor " + std::to_string(descriptor) + ": " + why};
}

const char* kind_of(mode_t mode) {
    return S_ISREG(mode)    ? "a file"
           : S_ISDIR(mode)  ? "a directory"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "another device";
}

Result<void> check_is_fuse(int descriptor) {
    struct stat found {};
    if (::fstat(descriptor, &found) != 0) {
        return cannot_serve(descriptor,
                            "no such descriptor is open here; whoever starts ckptfs must let it inherit the one that "
                            "/dev/fuse was mounted with (without FD_CLOEXEC)");
    }
    if (!S_ISCHR(found.st_mode) || major(found.st_rdev) != fuse_major || minor(found.st_rdev) != fuse_minor) {
        return cannot_serve(descriptor, std::string("it is ") + kind_of(found.st_mode) +
                                            "; it must be the one that /dev/fuse was mounted with");
    }
    const int flags = ::fcntl(descriptor, F_GETFL);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    if (flags < 0 || (flags & O_ACCMODE) != O_RDWR) {
        return cannot_serve(descriptor, "/dev/fuse is not open for reading and writing; open it with O_RDWR");
    }
    return {};
}

// Reading with less room than the kernel asks for takes nothing out, and is refused in another way while nothing is
// mounted.
bool was_mounted(int descriptor) {
    char too_little = 0;
    return ::read(descriptor, &too_little, sizeof(too_little)) >= 0 || errno != EPERM;
}

// A mount puts the kernel's first question into the descriptor at once; polling says whether it is there.
Result<void> check_waits_for_daemon(int descriptor) {
    pollfd asked{.fd = descriptor, .events = POLLIN, .revents = 0};
    if (::poll(&asked, 1, 0) < 0) {
        return cannot_serve(descriptor, std::generic_category().message(errno));
    }
    if ((asked.revents & POLLERR) != 0) {
        return cannot_serve(descriptor, was_mounted(descriptor)
                                            ? "it was unmounted, or its connection was aborted; mount again, with "
                                              "/dev/fuse opened anew"
                                            : "nothing is mounted with it yet; call mount(2) with fd=" +
                                                  std::to_string(descriptor) + " among its options first");
    }
    if ((asked.revents & POLLIN) == 0) {
        return cannot_serve(descriptor,
                            "another process serves it already, or has begun to; mount again, with /dev/fuse opened "
                            "anew");
    }
    return {};
}

/// "0:MINOR", as /proc/self/mountinfo has it. Empty where the kernel does not tell.
std::string device_of(int descriptor) {
    constexpr std::string_view label = "fuse_connection:";
    std::ifstream facts("/proc/self/fdinfo/" + std::to_string(descriptor));
    for (std::string word; facts >> word;) {
        if (word == label && facts >> word) {
            return "0:" + word;  // the connection has the number of the file system's device, which has no major
        }
    }
    return "";
}

// Of an absolute path, by its letters.
std::vector<std::string_view> names_in(std::string_view path) {
    std::vector<std::string_view> names;
    for (const std::string_view name : path_components(path)) {
        if (name != "..") {
            names.push_back(name);
        } else if (!names.empty()) {
            names.pop_back();
        }
    }
    return names;
}

// By names alone: until it is served, whoever looks into the mount waits.
Result<void> check_apart_by_name(const MountOptions& options, const MountEntry& mount) {
    const auto source = names_in(options.source);
    const auto point = names_in(mount.point);
    const std::size_t shared = std::min(point.size(), source.size());
    const bool covers = point.size() == shared;
    if (!std::equal(point.begin(), point.begin() + static_cast<std::ptrdiff_t>(shared), source.begin())) {
        return {};
    }
    return Error(ErrorCode::invalid_argument,
                 "cannot serve " + name_of_mount(options) + ": it is mounted on " + in_quotes(mount.point) +
                     ", which " + (covers ? "is or contains" : "lies inside") + " the source " +
                     in_quotes(options.source) + "; mount it on a directory outside of that");
}

// A mount that only looks like the descriptor's, to a kernel that does not tell, may be another one.
Result<void> check_mounts(const MountOptions& options) {
    const std::string device = device_of(*options.descriptor);
    const auto may_be_it = [&](const MountEntry& entry) {
        return device.empty() ? entry.type == mount_type && entry.source == options.source : entry.device == device;
    };
    for (const MountEntry& mount : mounts_of_process(may_be_it)) {
        CKPTFS_TRY(check_apart_by_name(options, mount));
        if (options.writable && mount.is_read_only && !device.empty()) {
            return Error(ErrorCode::invalid_argument, "cannot serve " + name_of_mount(options) +
                                                          " --writable: it is mounted read-only on " +
                                                          in_quotes(mount.point) + "; mount it without MS_RDONLY");
        }
    }
    return {};
}

}  // namespace

std::string name_of_mount(const MountOptions& options) {
    return options.descriptor ? "the file system of descriptor " + std::to_string(*options.descriptor)
                              : "'" + options.mount_point + "'";
}

std::optional<int> descriptor_of(const std::string& mount_point) {
    if (!mount_point.starts_with(directory_of_descriptors)) {
        return std::nullopt;
    }
    const std::string_view digits = std::string_view(mount_point).substr(directory_of_descriptors.size());
    int descriptor = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), descriptor);
    const bool is_number = failure == std::errc() && end == digits.data() + digits.size() && digits.front() != '-';
    return is_number ? std::optional(descriptor) : std::nullopt;
}

Result<void> check_handed_over(const MountOptions& options) {
    const int descriptor = *options.descriptor;
    if (descriptor <= STDERR_FILENO) {
        return Error(ErrorCode::invalid_argument,
                     "cannot serve " + name_of_mount(options) +
                         ": 0, 1 and 2 are the standard streams; hand /dev/fuse over under a higher number");
    }
    CKPTFS_TRY(check_is_fuse(descriptor));
    CKPTFS_TRY(check_waits_for_daemon(descriptor));
    return check_mounts(options);
}

Result<void> take_over(int descriptor) {
    const int flags = ::fcntl(descriptor, F_GETFL);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
    if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {  // NOLINT(cppcoreguidelines-pro-type-vararg)
        return cannot_serve(descriptor, std::generic_category().message(errno));
    }
    return {};
}

}  // namespace ckptfs
