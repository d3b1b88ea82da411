// Who holds which lock decides everything; no process id and no count is written down that could go stale.
//
// - `users`, shared: every user, and every process that it handed the descriptor to. Who has it knows that nothing is
//   removed. Exclusive: who ends the mount. A file that was removed meanwhile has no links, and one begins anew.
// - the directory, exclusive: who starts a daemon.
// - `daemon`, exclusive: the daemon, from its first step until its mount is gone. What the file says is said by who has
//   the lock.
#include "share/shared_view.h"

#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <mutex>
#include <utility>

#include "share/user_namespace.h"
#include "util/log.h"
#include "util/text.h"

namespace ckptfs::share {
namespace {

using Clock = std::chrono::steady_clock;
using LockKind = FileLock::Kind;

constexpr std::chrono::milliseconds pause{5};
constexpr std::chrono::seconds patience_to_leave{10};
constexpr std::chrono::seconds patience_to_signal{1};
constexpr int wake_signal = SIGURG;

Result<bool> is_served(const SharedPlace& place) {
    CKPTFS_ASSIGN(auto lock, FileLock::of_file(place.daemon()));
    CKPTFS_ASSIGN(const bool free, lock.try_lock(LockKind::exclusive));
    return !free;
}

}  // namespace

Result<SharedView::Joined> SharedView::join(const SharedPlace& place, const Start& start,
                                            std::chrono::milliseconds patience) {
    const auto deadline = Clock::now() + patience;
    Retry in_the_way = Retry::daemon;
    do {
        auto attempted = attempt(place, start);
        if (!attempted && attempted.error().code() != ErrorCode::not_found) {
            return attempted.error();
        }
        if (attempted && std::holds_alternative<SharedView>(*attempted)) {
            return Joined(std::get<SharedView>(std::move(*attempted)));
        }
        if (attempted && std::holds_alternative<StartReport>(*attempted)) {
            return Joined(std::get<StartReport>(std::move(*attempted)));
        }
        if (attempted) {
            in_the_way = std::get<Retry>(*attempted);
        }
        std::this_thread::sleep_for(pause);
    } while (Clock::now() < deadline);
    if (in_the_way == Retry::starter) {
        return Error(ErrorCode::mount, "another ckptfs run has been starting the daemon for '" + place.view() +
                                           "' all the while; end it with: fuser -k '" + place.directory() + "'");
    }
    return Error(ErrorCode::mount, "the daemon that serves '" + place.view() +
                                       "' neither mounts nor ends; end it with: fuser -k '" + place.daemon() + "'");
}

// `not_found`: somebody has removed the place meanwhile.
Result<SharedView::Attempt> SharedView::attempt(const SharedPlace& place, const Start& start) {
    CKPTFS_TRY(place.make());
    CKPTFS_ASSIGN(auto users, FileLock::of_file(place.users()));
    CKPTFS_ASSIGN(const bool may_use, users.try_lock(LockKind::shared));
    if (!may_use || users.is_removed()) {
        return Attempt(Retry::daemon);
    }
    return serve_or_join(SharedView(place, std::move(users)), start);
}

Result<SharedView::Attempt> SharedView::serve_or_join(SharedView user, const Start& start) {
    const SharedPlace& place = user.place_;
    CKPTFS_ASSIGN(auto starting, FileLock::of_directory(place.directory()));
    CKPTFS_ASSIGN(const bool may_start, starting.try_lock(LockKind::exclusive));
    if (!may_start) {
        return Attempt(Retry::starter);
    }
    CKPTFS_ASSIGN(const bool served, is_served(place));
    if (served) {
        // Not mounted yet: whoever started it was killed. Not mounted any more: it is about to end.
        return place.is_mounted() ? Attempt(std::move(user)) : Attempt(Retry::daemon);
    }
    static_cast<void>(place.clear_mount());  // what is left there is said by whoever mounts
    CKPTFS_TRY(place.make_mount_point());
    StartReport report = start();
    if (report.exit_code == 0) {
        return Attempt(std::move(user));
    }
    if (report.exit_code == served_by_another) {
        return Attempt(Retry::daemon);
    }
    static_cast<void>(user.leave());  // the report says what was wrong
    return Attempt(std::move(report));
}

std::string SharedView::user_namespace() const {
    std::string path;
    std::getline(std::ifstream(place_.daemon()), path);
    return path;
}

Result<void> SharedView::leave() {
    users_.unlock();
    const auto deadline = Clock::now() + patience_to_leave;
    while (Clock::now() < deadline) {
        const auto over = is_over();
        if (!over && over.error().code() != ErrorCode::not_found) {
            return over.error();
        }
        if (!over || *over) {
            return {};
        }
        std::this_thread::sleep_for(pause);
    }
    return Error(ErrorCode::mount, in_quotes(place_.view()) + " is still mounted: its daemon does not end");
}

// Whether this user has nothing more to wait for. The daemon ends the mount, and the last user what is left of it:
// where the daemon has crashed, and where it could not unmount, which nobody hears from it. `not_found`: nothing is
// left.
Result<bool> SharedView::is_over() const {
    CKPTFS_ASSIGN(auto users, FileLock::of_file(place_.users()));
    CKPTFS_ASSIGN(const bool unused, users.try_lock(LockKind::exclusive));
    if (!unused) {
        return users.try_lock(LockKind::shared);  // false: the daemon has the exclusive lock, and is ending the mount
    }
    if (users.is_removed()) {
        return true;
    }
    CKPTFS_ASSIGN(const bool served, is_served(place_));
    if (!served) {
        CKPTFS_TRY(place_.remove());
    }
    return !served;
}

struct ViewKeeper::Watch {
    explicit Watch(FileLock users_lock) : users(std::move(users_lock)) {}

    void run() {
        std::unique_lock lock(mutex);
        while (!finished) {
            lock.unlock();
            unused = unused || wait_for_users();
            lock.lock();
            if (unused && !finished) {
                ::kill(::getpid(), SIGTERM);  // again and again: libfuse misses one that comes just before it waits
                changed.wait_for(lock, patience_to_signal);
            }
        }
        ended = true;
        changed.notify_all();
    }

    /// True once nobody has the lock but this process.
    bool wait_for_users() {
        const auto locked = users.lock_unless_interrupted(LockKind::exclusive);
        if (!locked) {
            log::error(locked.error().message());
        }
        return !locked || *locked;
    }

    void finish() {
        std::unique_lock lock(mutex);
        finished = true;
        changed.notify_all();
        while (!ended) {
            ::pthread_kill(thread.native_handle(), wake_signal);  // again and again, for the same reason
            changed.wait_for(lock, pause);
        }
        lock.unlock();
        thread.join();
    }

    FileLock users;
    std::mutex mutex;
    std::condition_variable changed;
    bool unused = false;
    bool finished = false;
    bool ended = false;
    std::thread thread;
};

ViewKeeper::ViewKeeper(SharedPlace place) : place_(std::move(place)) {}
ViewKeeper::~ViewKeeper() = default;

Result<bool> ViewKeeper::take() {
    CKPTFS_ASSIGN(auto lock, FileLock::of_file(place_.daemon()));
    CKPTFS_ASSIGN(const bool mine, lock.try_lock(LockKind::exclusive));
    if (mine) {
        served_ = std::make_unique<FileLock>(std::move(lock));
        CKPTFS_TRY(served_->write(""));
    }
    return mine;
}

void ViewKeeper::offer_user_namespace() {
    auto made = make_user_namespace();
    if (made && served_->write(path_of_namespace(*made))) {
        user_namespace_ = std::move(made).value();
    }
}

Result<void> ViewKeeper::watch() {
    CKPTFS_ASSIGN(auto users, FileLock::of_file(place_.users()));
    watch_ = std::make_unique<Watch>(std::move(users));
    struct sigaction wake_up {};
    wake_up.sa_handler = [](int) {};
    ::sigaction(wake_signal, &wake_up, nullptr);
    // All other signals are for the thread that serves.
    sigset_t others{};
    sigset_t before{};
    sigfillset(&others);
    sigdelset(&others, wake_signal);
    ::pthread_sigmask(SIG_SETMASK, &others, &before);
    watch_->thread = std::thread([watch = watch_.get()] { watch->run(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return {};
}

void ViewKeeper::finish() {
    if (!watch_) {
        return;
    }
    watch_->finish();
    if (watch_->unused && !watch_->users.is_removed()) {
        static_cast<void>(place_.remove());  // what stays was logged by the mount, and is told by SharedView::leave()
    }
}

}  // namespace ckptfs::share
