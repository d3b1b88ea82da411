// Groups are in no request: libfuse reads them in /proc.
#include "fuse/request_caller.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <type_traits>

#include "util/log.h"

namespace ckptfs {
namespace {

constexpr int usual_groups = 64;  // more take a second look
static_assert(std::is_same_v<gid_t, std::uint32_t>);

/// `ask(size, list)`: how many there are, of which `list` has got the first `size`.
template <class Ask>
int collect(std::vector<std::uint32_t>& groups, Ask&& ask) {
    groups.resize(usual_groups);
    int count = ask(usual_groups, groups.data());
    while (count > static_cast<int>(groups.size())) {
        groups.resize(static_cast<std::size_t>(count));
        count = ask(count, groups.data());
    }
    groups.resize(static_cast<std::size_t>(std::max(count, 0)));
    return count;
}

void report_once(pid_t process) {
    static std::atomic<bool> reported = false;
    if (!reported.exchange(true)) {
        log::warn(
            "the groups of process " + std::to_string(process) +
            " cannot be read: what needs them is refused with EACCES (the daemon must see the processes that use the "
            "mount in its /proc)");
    }
}

}  // namespace

Outcome<std::vector<std::uint32_t>> RequestCaller::groups() const {
    std::vector<std::uint32_t> groups;
    const int count =
        collect(groups, [this](int size, gid_t* list) { return fuse_req_getgroups(request_, size, list); });
    if (count < 0) {
        report_once(context_.pid);
        return Errno{EACCES};
    }
    return groups;
}

}  // namespace ckptfs
