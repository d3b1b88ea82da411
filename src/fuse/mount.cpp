// A libfuse session from mount to unmount.
#include "fuse/mount.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "fuse/adapter.h"
#include "fuse/counted_operations.h"
#include "fuse/housekeeping.h"
#include "fuse/session_signals.h"
#include "host/handed_over.h"
#include "host/mount_control.h"
#include "host/mount_point.h"
#include "util/log.h"

namespace ckptfs {
namespace {

constexpr unsigned max_threads = 64;

// What libfuse has to say goes to the log, and while mounting into the error. libfuse knows one such function.
class LibfuseMessages {
 public:
    LibfuseMessages() { fuse_set_log_func(&receive); }
    ~LibfuseMessages() { fuse_set_log_func(nullptr); }
    LibfuseMessages(const LibfuseMessages&) = delete;
    LibfuseMessages& operator=(const LibfuseMessages&) = delete;

    static void collect(bool on) {
        const std::lock_guard lock(state().mutex);
        state().collecting = on;
        state().text.clear();
    }
    static std::string collected() {
        const std::lock_guard lock(state().mutex);
        return state().text.empty() ? "libfuse gives no reason" : state().text;
    }

 private:
    struct State {
        std::mutex mutex;
        bool collecting = false;
        std::string text;
    };
    static State& state() {
        static State instance;
        return instance;
    }
    // Called from C. Not only exceptions would unwind through it: libfuse ends its threads by cancelling them, also
    // while one of them says why it cannot read.
    static void receive(fuse_log_level /*level*/, const char* format, va_list arguments) noexcept {
        int cancellation = 0;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellation);
        std::array<char, 512> buffer{};
        std::vsnprintf(buffer.data(), buffer.size(), format, arguments);
        std::string_view text = buffer.data();
        while (!text.empty() && text.back() == '\n') {
            text.remove_suffix(1);
        }
        if (!collect(text)) {
            log::warn(text);
        }
        pthread_setcancelstate(cancellation, nullptr);
    }
    // False where the text is for the log: nobody collects, or there is no memory to.
    static bool collect(std::string_view text) noexcept {
        try {
            const std::lock_guard lock(state().mutex);
            if (state().collecting) {
                state().text.append(state().text.empty() ? "" : "; ").append(text);
            }
            return state().collecting;
        } catch (const std::exception&) {
            return false;
        }
    }
};

// In a list of libfuse's options, commas and backslashes are escaped.
std::string escaped(const std::string& value) {
    std::string out;
    for (const char letter : value) {
        if (letter == ',' || letter == '\\') {
            out += '\\';
        }
        out += letter;
    }
    return out;
}

class Session {
 public:
    Session(Adapter& adapter, const MountOptions& options) {
        add("ckptfs");
        add_option(options.writable ? "rw" : "ro");
        add_option("nosuid,nodev,noatime,default_permissions,subtype=ckptfs");
        add_option("fsname=" + escaped(options.source));
        if (options.allow_other) {
            add_option("allow_other");
        }
        for (const auto& option : options.kernel_options) {
            add_option(escaped(option));
        }
        session_ =
            fuse_session_new(&arguments_, &counted_operations(options.writable), sizeof(fuse_lowlevel_ops), &adapter);
    }
    ~Session() {
        if (session_ != nullptr) {
            unmount();
            fuse_session_destroy(session_);
        }
        fuse_opt_free_args(&arguments_);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    [[nodiscard]] fuse_session* get() const { return session_; }

    void unmount() {
        if (!leaves_mount_point_) {
            fuse_session_unmount(session_);
        }
    }
    /// From now on nothing is unmounted. libfuse unmounts by path, whoever has mounted there meanwhile.
    void leave_mount_point() { leaves_mount_point_ = true; }

 private:
    void add(const std::string& argument) { fuse_opt_add_arg(&arguments_, argument.c_str()); }
    void add_option(const std::string& option) {
        add("-o");
        add(option);
    }

    fuse_args arguments_ = FUSE_ARGS_INIT(0, nullptr);
    fuse_session* session_ = nullptr;
    bool leaves_mount_point_ = false;
};

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)
ssize_t hooked_writev(int descriptor, iovec* parts, int count, void* user_data) {
    ssize_t answer = 0;
    if (count > 0 && ReplyPipe::writes(descriptor, parts[0], answer)) {
        return answer;
    }
    return static_cast<Adapter*>(user_data)->init_hook.writev(descriptor, parts, count);
}

ssize_t hooked_read(int descriptor, void* buffer, std::size_t nbytes, void* user_data) {
    const ssize_t got = static_cast<Adapter*>(user_data)->init_hook.read(descriptor, buffer, nbytes);
    if (got > 0) {
        ReplyPipe::see_request(buffer, static_cast<std::size_t>(got));
    }
    return got;
}
#endif

Result<void> install_init_hook([[maybe_unused]] fuse_session* session) {
#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)
    fuse_custom_io io{};
    io.writev = hooked_writev;
    io.read = hooked_read;
    const int failure = fuse_session_custom_io(session, &io, fuse_session_fd(session));
    if (failure != 0) {
        return Error(ErrorCode::mount, "libfuse refuses custom I/O: " + std::generic_category().message(-failure));
    }
#endif
    return {};
}

// As /proc/self/mountinfo and /sys have it.
std::string name_of(dev_t device) {
    return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

// Without it the kernel asks for 128 KiB at a time. Only root may; a mount works without.
void raise_read_ahead(const std::string& device, unsigned nbytes) {
    const auto path = "/sys/class/bdi/" + device + "/read_ahead_kb";
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    const std::string value = std::to_string(nbytes / 1024);
    if (descriptor < 0 || ::write(descriptor, value.data(), value.size()) < 0) {
        log::info(path + " cannot be raised to " + value + ": " + std::generic_category().message(errno));
    }
    if (descriptor >= 0) {
        ::close(descriptor);
    }
}

// The mount of a session, and how it ends: what others have mounted on the same place stays.
class OwnMount {
 public:
    /// Right after mounting.
    explicit OwnMount(std::string real_mount_point) : mount_point_(std::move(real_mount_point)) {
        if (const auto entry = mounted_on(mount_point_)) {
            device_ = entry->device;
        }
    }

    /// Where the mount could not be found, nothing can be told from it.
    [[nodiscard]] bool is_on(const std::string& device) const { return device_.empty() || device == device_; }

    [[nodiscard]] bool is_covered() const {
        const auto entry = mounted_on(mount_point_);
        return entry && entry->device != device_;
    }

    /// libfuse takes a connection that was aborted (in /sys/fs/fuse/connections) for one that was unmounted, and says
    /// nothing where fusermount3 fails. False where the mount stays.
    [[nodiscard]] bool clear_if_left() const {
        const auto entry = mounted_on(mount_point_);
        if (!entry || entry->device != device_) {
            return true;
        }
        // Once our mount is gone, its device number can be that of the next one: that one answers.
        struct statvfs unused {};
        if (::statvfs(mount_point_.c_str(), &unused) == 0 || errno != ENOTCONN) {
            return true;
        }
        const auto unmounted = ckptfs::unmount(mount_point_, Unmounting::lazily);
        if (!unmounted) {
            log::warn("the mount is still there: " + unmounted.error().message() + "; clear it with: ckptfs umount '" +
                      mount_point_ + "'");
        }
        return unmounted.ok();
    }

 private:
    std::string mount_point_;
    std::string device_;
};

// Asks the mount for its root from outside, as a first user would, while the session serves.
class ReadinessProbe {
 public:
    /// `request_nbytes`: what the kernel may ask for at a time.
    ReadinessProbe(const std::string& mount_point, const OwnMount& own, unsigned request_nbytes,
                   const std::function<void()>& on_ready) {
        // Signals are for the thread that serves.
        sigset_t all{};
        sigset_t before{};
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            thread_ = std::thread([this, mount_point, &own, request_nbytes, on_ready] {
                run(mount_point, own, request_nbytes, on_ready);
            });
        } catch (const std::system_error& failure) {
            failure_ = failure.code().value();
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    ~ReadinessProbe() { join(); }
    ReadinessProbe(const ReadinessProbe&) = delete;
    ReadinessProbe& operator=(const ReadinessProbe&) = delete;

    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    /// The errno that the mount answered with so far, 0 if none. That it was unmounted meanwhile is none.
    [[nodiscard]] int failure() const { return failure_ == ENOTCONN || failure_ == ECONNABORTED ? 0 : failure_.load(); }
    /// False where there is no thread to ask: the mount is to be given up.
    [[nodiscard]] bool runs() const { return thread_.joinable(); }

 private:
    void run(const std::string& mount_point, const OwnMount& own, unsigned request_nbytes,
             const std::function<void()>& on_ready) noexcept {
        struct stat root {};
        if (::stat(mount_point.c_str(), &root) != 0) {
            give_up(errno);
        } else {
            try {
                const std::string device = name_of(root.st_dev);
                if (!own.is_on(device)) {
                    return;  // somebody has unmounted it already
                }
                raise_read_ahead(device, request_nbytes);
                on_ready();
            } catch (const std::exception& failure) {
                log::error(failure.what());
                give_up(ENOMEM);
            }
        }
    }
    void give_up(int reason) {
        failure_ = reason;
        ::kill(::getpid(), SIGTERM);  // to the thread that serves: all others block it
    }

    std::atomic<int> failure_ = 0;
    std::thread thread_;
};

// Of a mount whose place is not known, so that nobody can look into it from outside: the kernel's first question is
// being answered, and whoever looks into the mount waits for no more than that.
class FirstAnswer {
 public:
    explicit FirstAnswer(const std::function<void()>& on_ready) : on_ready_(on_ready) {}

    void give() noexcept {
        try {
            is_given_ = true;
            on_ready_();
        } catch (const std::exception& failure) {
            log::error(failure.what());
            failure_ = ENOMEM;
            ::kill(::getpid(), SIGTERM);  // to the thread that serves
        }
    }
    [[nodiscard]] bool is_given() const { return is_given_; }
    [[nodiscard]] int failure() const { return failure_; }

 private:
    const std::function<void()>& on_ready_;
    std::atomic<bool> is_given_ = false;
    std::atomic<int> failure_ = 0;
};

int serve(fuse_session* session) {
    const std::unique_ptr<fuse_loop_config, decltype(&fuse_loop_cfg_destroy)> config(fuse_loop_cfg_create(),
                                                                                     &fuse_loop_cfg_destroy);
    fuse_loop_cfg_set_max_threads(config.get(), max_threads);
    const int outcome = fuse_session_loop_mt(session, config.get());
    // A connection that ends is ENODEV to most readers, which libfuse takes for an end; one that reads just then may
    // get this instead.
    return outcome == -ECONNABORTED ? 0 : outcome;
}

// libfuse has a negative errno for most failures, but -1 for a thread or buffer that it cannot have.
std::string reason_of(int outcome) {
    return outcome == -1 ? "libfuse cannot get the threads or the memory that it needs"
                         : std::generic_category().message(-outcome);
}

}  // namespace

Result<void> mount_and_serve(FileSystem& file_system, const MountOptions& options,
                             const std::function<void()>& on_ready) {
    CKPTFS_TRY(check_mount_point(options));
    const std::string name = name_of_mount(options);
    std::string real_mount_point;  // unknown, and nobody's to unmount, where a descriptor was handed over
    if (options.descriptor) {
        CKPTFS_TRY(take_over(*options.descriptor));
    } else {
        CKPTFS_ASSIGN(real_mount_point, real_path(options.mount_point));
    }
    const LibfuseMessages messages;
    LibfuseMessages::collect(true);
    Adapter adapter(file_system, options);
    Session session(adapter, options);
    if (session.get() == nullptr) {
        return Error(ErrorCode::invalid_argument,
                     "the mount options are not accepted: " + LibfuseMessages::collected());
    }
    const SessionSignals signals(session.get(),
                                 {.only_own = options.ends_by_own_signals, .but_hang_up = options.outlives_hang_up});
    // fusermount3 follows no symbolic link, neither to mount nor to unmount.
    const std::string& place = options.descriptor ? options.mount_point : real_mount_point;
    if (fuse_session_mount(session.get(), place.c_str()) != 0) {
        const std::string advice = options.descriptor ? "" : mount_advice();
        return Error(ErrorCode::mount, "mounting on " + name + " failed: " + LibfuseMessages::collected() +
                                           (advice.empty() ? "" : "; " + advice));
    }
    const OwnMount own(real_mount_point);
    CKPTFS_TRY(install_init_hook(session.get()));
    adapter.session = session.get();
    adapter.backing_files.attach(fuse_session_fd(session.get()));
    LibfuseMessages::collect(false);
    const Housekeeping housekeeping(file_system);
    std::optional<ReadinessProbe> probe;
    FirstAnswer first_answer(on_ready);
    if (options.descriptor) {
        adapter.on_init = [&first_answer] { first_answer.give(); };
    } else {
        probe.emplace(options.mount_point, own, adapter.most_request_nbytes(), on_ready);
    }
    const int outcome = !probe || probe->runs() ? serve(session.get()) : 0;
    const int failure = probe ? probe->failure() : first_answer.failure();
    if (const auto signal = SessionSignals::ended_by()) {
        log::info(*signal + " ends the mount");
    }
    if (own.is_covered()) {
        log::info("something else is mounted on " + name + " by now, and stays");
        session.leave_mount_point();
    }
    session.unmount();  // before joining: a probe that still waits gets its error
    probe.reset();
    const bool is_gone = own.clear_if_left();
    if (const auto count = adapter.modes.passed_through(); count > 0) {
        log::info("the kernel itself read or wrote what was opened " + std::to_string(count) + " times");
    }
    log::info(options.descriptor || !is_gone ? options.source + " is no longer served on " + name
                                             : "unmounted " + options.source + " from " + options.mount_point);
    if (outcome < 0) {
        return Error(ErrorCode::mount, "serving " + name + " failed: " + reason_of(outcome));
    }
    if (failure != 0) {
        return Error(ErrorCode::mount, (options.descriptor ? "" : "the mount on ") + name +
                                           " does not answer: " + std::generic_category().message(failure));
    }
    if (options.descriptor && !first_answer.is_given()) {
        return Error(ErrorCode::mount, name + " was unmounted, or ckptfs told to end, before it was served");
    }
    return {};
}

}  // namespace ckptfs
