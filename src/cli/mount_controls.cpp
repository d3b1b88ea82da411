// A thread for each question, which is left to itself where the answer does not come.
#include "cli/mount_controls.h"

#include <cerrno>
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

bool says_stale(const Error& error) {
    const int reason = error.system_errno();
    return reason == ENOTCONN || reason == ECONNABORTED || reason == ESHUTDOWN;
}

}  // namespace ckptfs::cli
