// One request, of whoever may unmount.
#include "fuse/control.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <string>

#include "fuse/replies.h"
#include "host/mount_control.h"
#include "util/log.h"

namespace ckptfs {
namespace {

int set_log_level(const fuse_ctx& caller, const void* in, std::size_t in_nbytes) {
    if (caller.uid != 0 && caller.uid != ::geteuid()) {
        return EPERM;
    }
    std::uint32_t number = 0;
    if (in_nbytes != sizeof(number)) {
        return EINVAL;
    }
    std::memcpy(&number, in, sizeof(number));
    if (number > static_cast<std::uint32_t>(log::Level::error)) {
        return EINVAL;
    }
    const auto level = static_cast<log::Level>(number);
    const auto told = "process " + std::to_string(caller.pid) + " of user " + std::to_string(caller.uid) +
                      " sets the log to level " + std::string(name_of(level));
    if (level < log::level()) {
        log::set_level(level);
        log::info(told);
    } else {
        log::info(told);
        log::set_level(level);
    }
    return 0;
}

}  // namespace

void control(fuse_req_t request, fuse_ino_t inode, unsigned command, void* /*argument*/, fuse_file_info* /*file*/,
             unsigned /*flags*/, const void* in, std::size_t in_nbytes, std::size_t /*out_nbytes*/) noexcept {
    int failure = ENOTTY;
    if (inode == FUSE_ROOT_ID && command == set_log_level_request) {
        try {
            failure = set_log_level(*fuse_req_ctx(request), in, in_nbytes);
        } catch (const std::exception&) {
            failure = ENOMEM;
        }
    }
    if (failure != 0) {
        reply_error(request, failure);
    } else {
        fuse_reply_ioctl(request, 0, nullptr, 0);
    }
}

}  // namespace ckptfs
