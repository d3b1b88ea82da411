// One call every two seconds.
#include "fuse/housekeeping.h"

#include <pthread.h>

#include <chrono>
#include <csignal>

#include "fuse/session_signals.h"
#include "util/log.h"

namespace ckptfs {
namespace {

constexpr std::chrono::seconds interval{2};

}  // namespace

Housekeeping::Housekeeping(FileSystem& file_system) : file_system_(file_system) {
    sigset_t all{};
    sigset_t before{};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Housekeeping::~Housekeeping() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Housekeeping::run() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, interval, [this] { return ends_; })) {
        lock.unlock();
        file_system_.tidy();
        SessionSignals::report_ignored();
        log::report_held_back();
        lock.lock();
    }
}

}  // namespace ckptfs
