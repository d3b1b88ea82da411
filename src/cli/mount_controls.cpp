// A thread for each question, which is left to itself where the answer does not come.
#include "cli/mount_controls.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "util/text.h"

namespace ckptfs::cli {

std::optional<Result<std::string>> ask_in_time(const MountControls& controls, const std::string& mount_point,
                                               std::string_view name) {
    struct Answered {
        std::mutex mutex;
        std::condition_variable changed;
        std::optional<Result<std::string>> result;
    };
    const auto answered = std::make_shared<Answered>();
    std::thread([answered, ask = controls.ask, mount_point, name = std::string(name)] {
        Result<std::string> result = std::string();
        try {
            result = ask(mount_point, name);
        } catch (const std::exception& exception) {  // nobody is above this thread
            result = Error(ErrorCode::internal, "asking " + in_quotes(mount_point) + " failed: " + exception.what());
        }
        const std::lock_guard lock(answered->mutex);
        answered->result = std::move(result);
        answered->changed.notify_all();
    }).detach();
    std::unique_lock lock(answered->mutex);
    answered->changed.wait_for(lock, controls.patience, [&] { return answered->result.has_value(); });
    return answered->result;
}

Result<MountEntry> mount_on(const MountControls& controls, const std::string& point, const char* for_others) {
    const std::vector<MountEntry> mounts = controls.mounts();
    const auto found =
        std::find_if(mounts.rbegin(), mounts.rend(), [&](const MountEntry& mount) { return mount.point == point; });
    if (found == mounts.rend()) {
        return Error(ErrorCode::mount,
                     "nothing is mounted on " + in_quotes(point) + "; `ckptfs list` names the mounts that there are");
    }
    if (found->type != mount_type) {
        return Error(ErrorCode::mount, "what is mounted on " + in_quotes(point) + " is of type " +
                                           in_quotes(found->type) + ", and not ckptfs's" + for_others);
    }
    return *found;
}

bool says_stale(const Error& error) {
    return daemon_is_gone(error.system_errno());
}

}  // namespace ckptfs::cli
