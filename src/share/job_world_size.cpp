// Launchers say it in variables; without one, a node's GPUs are what there is to count.
#include "share/job_world_size.h"

#include <algorithm>
#include <string_view>
#include <system_error>

#include "request/world_size.h"
#include "util/text.h"

namespace ckptfs::share {
namespace {

namespace fs = std::filesystem;

bool is_number(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Result<JobWorldSize> from_variable(const std::string& name, const std::string& value) {
    const auto parsed = parse_world_size(value);
    if (!parsed) {
        return parsed.error().within("--world-size=auto takes " + name);
    }
    return JobWorldSize{*parsed, name, ""};
}

Result<JobWorldSize> from_slurm(const std::string& tasks, const Variables& variables) {
    CKPTFS_ASSIGN(JobWorldSize result, from_variable("SLURM_NTASKS", tasks));
    const auto nodes = variables("SLURM_NNODES");
    if (nodes && *nodes == tasks) {
        result.warning = "SLURM_NTASKS is " + tasks +
                         ", as many as there are nodes: where each task starts several ranks, as torchrun does, it is "
                         "not the world size; then give --world-size=N, or use the directories world-size-<N>";
    }
    return result;
}

/// As CUDA reads it: the list ends at the first entry that names no device.
std::uint64_t count_listed_devices(const std::string& list) {
    std::uint64_t count = 0;
    std::string_view rest = list;
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        std::string_view entry = rest.substr(0, comma);
        while (!entry.empty() && entry.front() == ' ') {
            entry.remove_prefix(1);
        }
        const bool names_device =
            (!entry.empty() && is_number(entry.substr(0, 1))) || entry.starts_with("GPU-") || entry.starts_with("MIG-");
        if (!names_device) {
            break;
        }
        ++count;
        rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    }
    return count;
}

template <class Predicate>
std::uint64_t count_entries(const fs::path& directory, const Predicate& counts) {
    std::uint64_t count = 0;
    std::error_code failure;
    for (fs::directory_iterator at(directory, failure); !failure && at != fs::directory_iterator();
         at.increment(failure)) {
        count += counts(at->path().filename().string()) ? 1U : 0U;
    }
    return count;
}

Result<JobWorldSize> from_gpus(const Variables& variables, const fs::path& root) {
    std::uint64_t count = 0;
    std::string origin;
    if (const auto listed = variables("CUDA_VISIBLE_DEVICES")) {
        count = count_listed_devices(*listed);
        origin = "CUDA_VISIBLE_DEVICES";
    } else {
        count = count_entries(root / "proc/driver/nvidia/gpus", [](const std::string&) { return true; });
        origin = "/proc/driver/nvidia/gpus";
        if (count == 0) {
            constexpr std::string_view prefix = "nvidia";
            count = count_entries(root / "dev", [&](const std::string& name) {
                return name.starts_with(prefix) && is_number(std::string_view(name).substr(prefix.size()));
            });
            origin = "/dev";
        }
    }
    if (count == 0) {
        return Error(
            ErrorCode::invalid_argument,
            "--world-size=auto finds no number of ranks: neither WORLD_SIZE nor SLURM_NTASKS is set, and no GPU "
            "is visible; give --world-size=N");
    }
    return JobWorldSize{count, counted(count, "visible GPU") + " (" + origin + ")", ""};
}

}  // namespace

Result<JobWorldSize> job_world_size(const Variables& variables, const fs::path& root) {
    if (const auto value = variables("WORLD_SIZE")) {
        return from_variable("WORLD_SIZE", *value);
    }
    if (const auto value = variables("SLURM_NTASKS")) {
        return from_slurm(*value, variables);
    }
    return from_gpus(variables, root);
}

}  // namespace ckptfs::share
