// A mount that several processes share: the first starts it, the last to end ends it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <variant>

#include "ckptfs/result.h"
#include "host/daemon.h"
#include "io/unique_fd.h"
#include "share/file_lock.h"
#include "share/shared_place.h"

namespace ckptfs::share {

/// What a daemon's start reports where another daemon serves the place already (EX_TEMPFAIL).
inline constexpr int served_by_another = 75;

/// The side of a user. One thread.
class SharedView {
 public:
    /// Starts a daemon that serves the place, with a ViewKeeper, and returns when the mount answers or could not be
    /// made.
    using Start = std::function<StartReport()>;

    /// A use of the mount, or what `start` reports where that could not make it.
    using Joined = std::variant<SharedView, StartReport>;
    /// Joins the mount at `place`, where there is one that is served, else makes it. An error says why there is none.
    /// Waits `patience` for others, who start a daemon or end a mount there; not for `start`.
    static Result<Joined> join(const SharedPlace& place, const Start& start,
                               std::chrono::milliseconds patience = patience_to_join);

    [[nodiscard]] std::string path() const { return place_.view(); }
    /// What the daemon's ViewKeeper offers; a path that there is not where it offers none.
    [[nodiscard]] std::string user_namespace() const;
    /// The mount lives at least as long as any process that has this descriptor, until leave().
    [[nodiscard]] int descriptor() const { return users_.descriptor(); }

    /// Ends the use, for every process that has inherited it. Returns when the mount is gone or used by others; an
    /// error says why it stays although nobody uses it.
    Result<void> leave();

 private:
    SharedView(SharedPlace place, FileLock users) : place_(std::move(place)), users_(std::move(users)) {}
    static constexpr std::chrono::seconds patience_to_join{60};
    /// Who is in the way.
    enum class Retry : unsigned char { daemon, starter };
    using Attempt = std::variant<SharedView, StartReport, Retry>;
    static Result<Attempt> attempt(const SharedPlace& place, const Start& start);
    static Result<Attempt> serve_or_join(SharedView user, const Start& start);
    [[nodiscard]] Result<bool> is_over() const;

    SharedPlace place_;
    FileLock users_;
};

/// The side of the daemon: ends the mount when nobody uses it, and takes its place away.
class ViewKeeper {
 public:
    explicit ViewKeeper(SharedPlace place);
    ViewKeeper(const ViewKeeper&) = delete;
    ViewKeeper& operator=(const ViewKeeper&) = delete;
    ~ViewKeeper();

    /// False where another daemon serves the place.
    Result<bool> take();
    /// Once taken: makes a user namespace for all users of the view to be in. Where the system refuses, there is none,
    /// and who needs one hears why. For a process with one thread.
    void offer_user_namespace();
    /// Once the mount answers: sends SIGTERM to this process as soon as nobody uses it.
    Result<void> watch();
    /// Once the mount is gone, whoever ended it: removes the place, unless somebody uses it, who then will.
    void finish();

 private:
    struct Watch;
    SharedPlace place_;
    std::unique_ptr<FileLock> served_;
    io::UniqueFd user_namespace_;
    std::unique_ptr<Watch> watch_;
};

}  // namespace ckptfs::share
