// One wrapper around the table of operations: what is timed is the work and the reply.
#include "fuse/counted_operations.h"

#include <chrono>
#include <exception>
#include <string>
#include <system_error>

#include "fuse/adapter.h"
#include "fuse/replies.h"
#include "util/log.h"

namespace ckptfs {
namespace {

using Clock = std::chrono::steady_clock;

void log_answer(Operation operation, pid_t process, const Answer& answer, std::chrono::nanoseconds took) noexcept {
    try {
        std::string line(name_of(operation));
        line += " of process " + std::to_string(process) + ": ";
        line += answer.error != 0 ? std::generic_category().message(answer.error)
                                  : "done, " + std::to_string(answer.nbytes) + " bytes";
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
        log::debug(line + ", " + std::to_string(us) + " us");
    } catch (const std::exception&) {
        log::debug("an operation, and no memory to say which");
    }
}

/// While one request is answered, which is gone when it ends.
class Counting {
 public:
    Counting(fuse_req_t request, Operation operation)
        : counters_(*adapter_of(request).counters), operation_(operation), began_(Clock::now()) {
        current_answer() = {};
        counters_.begin();
        if (log::writes(log::Level::debug)) {
            process_ = fuse_req_ctx(request)->pid;
            is_logged_ = true;
        }
    }
    Counting(const Counting&) = delete;
    Counting& operator=(const Counting&) = delete;
    ~Counting() {
        const auto took = Clock::now() - began_;
        counters_.end(operation_, current_answer(), took);
        if (is_logged_) {
            log_answer(operation_, process_, current_answer(), took);
        }
    }

 private:
    RequestCounters& counters_;
    Operation operation_;
    Clock::time_point began_;
    pid_t process_ = 0;
    bool is_logged_ = false;
};

template <Operation operation, auto member>
struct Counted;
template <Operation operation, class... Arguments, void (*fuse_lowlevel_ops::*member)(fuse_req_t, Arguments...)>
struct Counted<operation, member> {
    static void run(fuse_req_t request, Arguments... arguments) noexcept {
        const bool writable = adapter_of(request).writable;
        const Counting counting(request, operation);
        (adapter_operations(writable).*member)(request, arguments...);
    }
};

template <Operation operation, auto member>
void count(fuse_lowlevel_ops& operations) {
    if (operations.*member != nullptr) {
        operations.*member = Counted<operation, member>::run;
    }
}

fuse_lowlevel_ops counted(fuse_lowlevel_ops operations) {
    using Table = fuse_lowlevel_ops;
    count<Operation::lookup, &Table::lookup>(operations);
    count<Operation::forget, &Table::forget>(operations);
    count<Operation::forget, &Table::forget_multi>(operations);
    count<Operation::getattr, &Table::getattr>(operations);
    count<Operation::setattr, &Table::setattr>(operations);
    count<Operation::readlink, &Table::readlink>(operations);
    count<Operation::open, &Table::open>(operations);
    count<Operation::create, &Table::create>(operations);
    count<Operation::read, &Table::read>(operations);
    count<Operation::write, &Table::write>(operations);
    count<Operation::release, &Table::release>(operations);
    count<Operation::flush, &Table::flush>(operations);
    count<Operation::fsync, &Table::fsync>(operations);
    count<Operation::fallocate, &Table::fallocate>(operations);
    count<Operation::lseek, &Table::lseek>(operations);
    count<Operation::copy_file_range, &Table::copy_file_range>(operations);
    count<Operation::opendir, &Table::opendir>(operations);
    count<Operation::readdir, &Table::readdir>(operations);
    count<Operation::releasedir, &Table::releasedir>(operations);
    count<Operation::fsyncdir, &Table::fsyncdir>(operations);
    count<Operation::statfs, &Table::statfs>(operations);
    count<Operation::mknod, &Table::mknod>(operations);
    count<Operation::mkdir, &Table::mkdir>(operations);
    count<Operation::symlink, &Table::symlink>(operations);
    count<Operation::link, &Table::link>(operations);
    count<Operation::unlink, &Table::unlink>(operations);
    count<Operation::rmdir, &Table::rmdir>(operations);
    count<Operation::rename, &Table::rename>(operations);
    count<Operation::getxattr, &Table::getxattr>(operations);
    count<Operation::listxattr, &Table::listxattr>(operations);
    count<Operation::setxattr, &Table::setxattr>(operations);
    count<Operation::removexattr, &Table::removexattr>(operations);
    count<Operation::ioctl, &Table::ioctl>(operations);
    return operations;
}

}  // namespace

const fuse_lowlevel_ops& counted_operations(bool writable) {
    static const fuse_lowlevel_ops reading = counted(adapter_operations(false));
    static const fuse_lowlevel_ops writing = counted(adapter_operations(true));
    return writable ? writing : reading;
}

}  // namespace ckptfs
