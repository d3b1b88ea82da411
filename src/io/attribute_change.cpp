// The one order of the calls, for files that are open and for those that are not.
#include "io/attribute_change.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <optional>

#include "io/retried.h"
#include "util/timespec.h"

namespace ckptfs::io {
namespace {

using Times = std::array<timespec, 2>;

/// What chown(2) takes for "as it is".
constexpr std::uint32_t unchanged_id = std::numeric_limits<std::uint32_t>::max();

timespec time_of(const std::optional<AttributeChange::Time>& time) {
    if (!time) {
        return {0, UTIME_OMIT};
    }
    return time->is_now ? timespec{0, UTIME_NOW} : to_timespec(time->ns);
}

/// Each of the calls answers as the system does.
template <class SetSize, class SetOwner, class SetMode, class SetTimes>
int change_in_order(const AttributeChange& change, SetSize set_size, SetOwner set_owner, SetMode set_mode,
                    SetTimes set_times) {
    if (change.uid == unchanged_id || change.gid == unchanged_id ||
        change.size > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
        return -EINVAL;
    }
    int answer = 0;
    if (change.size) {
        answer = retried([&] { return set_size(static_cast<off_t>(*change.size)); });
    }
    if (answer == 0 && (change.uid || change.gid)) {
        answer =
            retried([&] { return set_owner(change.uid.value_or(unchanged_id), change.gid.value_or(unchanged_id)); });
    }
    if (answer == 0 && change.mode) {
        constexpr mode_t permission_bits = 07777;
        answer = retried([&] { return set_mode(*change.mode & permission_bits); });
    }
    if (answer == 0 && (change.atime || change.mtime)) {
        const Times times{time_of(change.atime), time_of(change.mtime)};
        answer = retried([&] { return set_times(times.data()); });
    }
    return answer;
}

}  // namespace

int change_open_file(int fd, const AttributeChange& change) {
    return change_in_order(
        change, [&](off_t size) { return ::ftruncate(fd, size); },
        [&](uid_t uid, gid_t gid) { return ::fchown(fd, uid, gid); }, [&](mode_t mode) { return ::fchmod(fd, mode); },
        [&](const timespec* times) { return ::futimens(fd, times); });
}

int change_entry(const SystemCalls& calls, int fd, const std::string& entry, const AttributeChange& change) {
    if (change.mode) {
        struct stat status {};
        const int answer = calls.stat_descriptor(fd, status);
        if (answer < 0 || S_ISLNK(status.st_mode)) {
            return answer < 0 ? answer : -EOPNOTSUPP;  // older kernels change it, to no effect
        }
    }
    const char* const path = entry.c_str();
    return change_in_order(
        change, [&](off_t size) { return ::truncate(path, size); },
        [&](uid_t uid, gid_t gid) { return ::chown(path, uid, gid); }, [&](mode_t mode) { return ::chmod(path, mode); },
        [&](const timespec* times) { return ::utimensat(AT_FDCWD, path, times, 0); });
}

}  // namespace ckptfs::io
