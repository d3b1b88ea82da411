// Reading what limits there are; formats: cgroups(7), proc_pid_mountinfo(5), the kernel's cgroup-v1/memory.rst,
// sched-bwc.rst and cgroup-v2.rst.
#include "util/machine_limits.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

namespace ckptfs {
namespace {

constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();
/// Of a machine that there may be: the kernel refuses a set that is smaller than its own.
constexpr std::size_t most_processors = std::size_t{1} << 16U;

/// The number that a text begins with; no_limit for "max" and whatever else is none.
std::uint64_t number_of(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    return failure == std::errc() ? value : no_limit;
}

std::uint64_t number_in(const std::string& path) {
    std::ifstream file(path);
    std::string word;
    return file >> word ? number_of(word) : no_limit;
}

/// MemTotal of /proc/meminfo, which containers with lxcfs have of their own.
std::uint64_t host_limit(const std::string& root) {
    constexpr std::uint64_t kib = 1024;
    std::ifstream file(root + "/proc/meminfo");
    std::string name;
    std::string value;
    std::string rest;
    while (file >> name >> value && std::getline(file, rest)) {
        if (name == "MemTotal:") {
            const std::uint64_t kibs = number_of(value);
            return kibs > no_limit / kib ? no_limit : kibs * kib;
        }
    }
    return no_limit;
}

bool has_word(std::string_view list, std::string_view word) {
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        if (list.substr(0, comma) == word) {
            return true;
        }
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

/// Where a hierarchy is mounted, and which of its directories is seen there.
struct Hierarchy {
    std::string root;
    std::string mount_point;
    bool unified = false;
};

std::vector<Hierarchy> hierarchies_of(std::string_view controller, const std::string& root) {
    std::vector<Hierarchy> found;
    std::ifstream mounts(root + "/proc/self/mountinfo");
    std::string line;
    while (std::getline(mounts, line)) {
        std::istringstream fields(line);
        std::string field;
        Hierarchy hierarchy;
        fields >> field >> field >> field >> hierarchy.root >> hierarchy.mount_point;
        while (fields >> field && field != "-") {
        }
        std::string type;
        std::string source;
        std::string options;
        fields >> type >> source >> options;
        hierarchy.unified = type == "cgroup2";
        if (hierarchy.unified || (type == "cgroup" && has_word(options, controller))) {
            found.push_back(std::move(hierarchy));
        }
    }
    return found;
}

/// The process's own directory in a hierarchy; "/" where the file does not say.
std::string own_cgroup(std::string_view controller, const std::string& root, bool unified) {
    std::ifstream file(root + "/proc/self/cgroup");
    std::string line;
    while (std::getline(file, line)) {
        // ID:CONTROLLERS:PATH, "0::PATH" for the unified hierarchy
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
        if (unified ? controllers.empty() : has_word(controllers, controller)) {
            return line.substr(second + 1);
        }
    }
    return "/";
}

/// The least that `limit_in(directory, unified)` finds in the process's cgroups and those above them.
template <class LimitIn>
std::uint64_t least_of_cgroups(std::string_view controller, const std::string& root, const LimitIn& limit_in) {
    std::uint64_t least = no_limit;
    for (const Hierarchy& hierarchy : hierarchies_of(controller, root)) {
        std::string path = own_cgroup(controller, root, hierarchy.unified);
        // A container sees its own directory at the mount point, under whatever name it has outside.
        if (hierarchy.root != "/" && path.starts_with(hierarchy.root)) {
            path.erase(0, hierarchy.root.size());
        }
        const std::string top = root + hierarchy.mount_point;
        while (true) {
            least = std::min(least, limit_in(top + path, hierarchy.unified));
            if (path.empty() || path == "/") {
                break;
            }
            path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
        }
    }
    return least;
}

std::uint64_t memory_in(const std::string& directory, bool unified) {
    return number_in(directory + (unified ? "/memory.max" : "/memory.limit_in_bytes"));
}

/// "MAX PERIOD", the first of which may be "max"; of version 1 two files, the first of which may hold -1.
std::uint64_t processors_in(const std::string& directory, bool unified) {
    std::uint64_t quota = no_limit;
    std::uint64_t period = no_limit;
    if (unified) {
        std::ifstream file(directory + "/cpu.max");
        std::string first;
        std::string second;
        if (file >> first >> second) {
            quota = number_of(first);
            period = number_of(second);
        }
    } else {
        quota = number_in(directory + "/cpu.cfs_quota_us");
        period = number_in(directory + "/cpu.cfs_period_us");
    }
    const bool is_limited = quota != no_limit && period != no_limit && period > 0;
    return is_limited ? quota / period + (quota % period == 0 ? 0 : 1) : no_limit;
}

std::uint64_t address_space_limit() {
    rlimit limit{};
    return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : no_limit;
}

}  // namespace

std::uint64_t memory_limit(const std::string& root) {
    return std::min({host_limit(root), address_space_limit(), least_of_cgroups("memory", root, memory_in)});
}

std::size_t processor_limit(std::size_t present, const std::string& root) {
    const std::uint64_t least = least_of_cgroups("cpu", root, processors_in);
    return static_cast<std::size_t>(std::max<std::uint64_t>(1, std::min<std::uint64_t>(present, least)));
}

std::size_t processors_to_run_on() {
    for (std::size_t most = CPU_SETSIZE; most <= most_processors; most *= 2) {
        const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(most),
                                                                   [](cpu_set_t* old) { CPU_FREE(old); });
        const std::size_t nbytes = CPU_ALLOC_SIZE(most);
        if (set && ::sched_getaffinity(0, nbytes, set.get()) == 0) {
            return static_cast<std::size_t>(CPU_COUNT_S(nbytes, set.get()));
        }
    }
    return std::thread::hardware_concurrency();
}

std::size_t processors() {
    static const std::size_t limit = processor_limit(processors_to_run_on());
    return limit;
}

}  // namespace ckptfs
