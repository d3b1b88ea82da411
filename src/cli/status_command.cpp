// ckptfs status: what a mount says of itself, and the level of its log.
#include <ostream>
#include <string>

#include "cli/commands.h"
#include "cli/mount_status.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

const char* file_of(StatusArguments::Shown shown) {
    switch (shown) {
        case StatusArguments::Shown::text:
            return status_file;
        case StatusArguments::Shown::json:
            return status_json_file;
        case StatusArguments::Shown::metrics:
            return metrics_file;
        case StatusArguments::Shown::log:
            return log_lines_file;
    }
    return status_file;
}

/// Of a path that does not answer: where no mount of ckptfs is there, that is why.
Error no_answer(const std::string& point, const Error& said, const MountControls& controls) {
    const auto real = controls.real_point(point);
    if (!real) {
        return said;
    }
    const auto mount = mount_on(controls, *real, "; `ckptfs list` names the mounts that there are");
    return mount ? said : mount.error();
}

}  // namespace

Result<void> show_status(const StatusArguments& arguments, const Environment& environment) {
    CKPTFS_ASSIGN(const std::string point, absolute_path(arguments.mount_point, environment.working_directory));
    if (arguments.log_level) {
        const auto set = environment.mount_controls.set_log_level(point, *arguments.log_level);
        if (!set) {
            return no_answer(point, set.error(), environment.mount_controls);
        }
        environment.out << "the log of " << in_quotes(point) << " has level " << name_of(*arguments.log_level)
                        << " from now on\n";
        return {};
    }
    const auto answer = ask_in_time(environment.mount_controls, point, file_of(arguments.shown));
    if (!answer) {
        return Error(ErrorCode::mount, "the mount at " + in_quotes(point) +
                                           " says nothing: its source may not answer; the log of the mount may say "
                                           "more, and `ckptfs umount --lazy` takes the mount away");
    }
    if (!*answer) {
        return no_answer(point, answer->error(), environment.mount_controls);
    }
    environment.out << **answer;
    return {};
}

}  // namespace ckptfs::cli
