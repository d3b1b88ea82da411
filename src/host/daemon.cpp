// Fork first, report through a pipe, let go of the shell.
#include "host/daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <system_error>
#include <vector>

#include "util/log.h"

namespace ckptfs {
namespace {

std::string message_of(int reason) {
    return std::generic_category().message(reason);
}

// False: the parent is gone, nobody is left to tell.
bool write_all(int descriptor, const void* data, std::size_t nbytes) {
    const auto* at = static_cast<const char*>(data);
    while (nbytes > 0) {
        const ssize_t done = ::write(descriptor, at, nbytes);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        at += done;
        nbytes -= static_cast<std::size_t>(done);
    }
    return true;
}

std::string read_all(int descriptor) {
    std::string out;
    std::array<char, 4096> buffer{};
    while (true) {
        const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return out;
        }
        out.append(buffer.data(), static_cast<std::size_t>(got));
    }
}

// On the pipe: the exit code, then the message.
bool send(int descriptor, const StartReport& report) {
    const std::int32_t exit_code = report.exit_code;
    return write_all(descriptor, &exit_code, sizeof(exit_code)) &&
           write_all(descriptor, report.message.data(), report.message.size());
}

// Its status. Once it has been asked for, it is gone, and asking again gives 0.
int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

StartReport receive(int descriptor, pid_t child, int crash_exit_code) {
    const auto text = read_all(descriptor);
    std::int32_t exit_code = 0;
    if (text.size() >= sizeof(exit_code)) {
        std::memcpy(&exit_code, text.data(), sizeof(exit_code));
        return {exit_code, text.substr(sizeof(exit_code)), 0};
    }
    const int status = wait_for(child);
    const auto how = WIFSIGNALED(status) ? "killed by signal " + std::to_string(WTERMSIG(status))
                                         : "with exit code " + std::to_string(WEXITSTATUS(status));
    return {crash_exit_code, "the daemon ended before the mount was ready, " + how, 0};
}

// Takes no number beside the stream's own: there may be none left.
bool point_input_at_null() {
    ::close(STDIN_FILENO);
    return ::open("/dev/null", O_RDWR) == STDIN_FILENO;
}

// Once standard input is there, what it leads to does for any other stream.
void point_at_null(int descriptor) {
    ::dup2(STDIN_FILENO, descriptor);
}

// The child has a session of its own, so that neither the terminal nor whoever kills the waiting parent reaches it:
// what would end the parent is passed on, and ends the parent once the child has ended.
class SignalsForChild {
 public:
    SignalsForChild() {
        sigemptyset(&forwarded_);
        for (const int number : numbers) {
            sigaddset(&forwarded_, number);
        }
        ::pthread_sigmask(SIG_BLOCK, &forwarded_, &mask_before_);
    }
    void block() { ::pthread_sigmask(SIG_BLOCK, &forwarded_, nullptr); }
    SignalsForChild(const SignalsForChild&) = delete;
    SignalsForChild& operator=(const SignalsForChild&) = delete;
    ~SignalsForChild() = default;

    void restore() {
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            if (installed_.at(i)) {
                ::sigaction(numbers.at(i), &before_.at(i), nullptr);
            }
        }
        installed_.fill(false);
        ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
    }

    void forward_to(pid_t child) {
        child_pid = child;
        received_signal = 0;
        struct sigaction forwarding {};
        forwarding.sa_handler = forward;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            ::sigaction(numbers.at(i), nullptr, &before_.at(i));
            if (before_.at(i).sa_handler != SIG_IGN) {  // nohup, or a job in the background
                ::sigaction(numbers.at(i), &forwarding, nullptr);
                installed_.at(i) = true;
            }
        }
        ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
    }

    /// The signal that came, 0 if none.
    [[nodiscard]] static int received() { return received_signal; }

 private:
    static void forward(int number) {
        const int reason = errno;
        received_signal = number;
        // To the child SIGHUP may mean no more than to open its log anew.
        ::kill(child_pid, number == SIGHUP ? SIGTERM : number);
        errno = reason;
    }

    static constexpr std::array<int, 3> numbers{SIGINT, SIGTERM, SIGHUP};
    static inline volatile pid_t child_pid = 0;
    static inline volatile std::sig_atomic_t received_signal = 0;

    sigset_t forwarded_{};
    sigset_t mask_before_{};
    std::array<struct sigaction, numbers.size()> before_{};
    std::array<bool, numbers.size()> installed_{};
};

// For a system or a sandbox without close_range().
void close_one_by_one(unsigned first, unsigned last) {
    std::vector<int> open;
    {
        const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir("/proc/self/fd"), &::closedir);
        if (!listing) {
            return;
        }
        while (const auto* entry = ::readdir(listing.get())) {                   // NOLINT(concurrency-mt-unsafe)
            open.push_back(std::atoi(static_cast<const char*>(entry->d_name)));  // NOLINT(cert-err34-c): numbers
        }
    }
    for (const int descriptor : open) {
        const auto number = static_cast<unsigned>(descriptor);
        if (number >= first && number <= last) {
            ::close(descriptor);
        }
    }
}

void close_all(unsigned first, unsigned last) {
    // glibc knows it from 2.34 on. NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
    if (first <= last && ::syscall(SYS_close_range, first, last, 0) != 0) {
        close_one_by_one(first, last);
    }
}

// The number that the pipe gets: right behind standard error, and beside what is kept.
int number_of_pipe(std::optional<int> kept) {
    constexpr int first = STDERR_FILENO + 1;
    return kept == first ? first + 1 : first;
}

// False where the caller's standard streams cannot be let go.
bool let_go_of_the_shell(int pipe, std::optional<int> kept) {
    ::setsid();
    if (::chdir("/") != 0) {
        std::perror("chdir");
    }
    const int kept_pipe = number_of_pipe(kept);
    if (pipe != kept_pipe) {
        ::dup3(pipe, kept_pipe, O_CLOEXEC);
    }
    const auto behind_pipe = static_cast<unsigned>(kept_pipe) + 1;
    if (kept && *kept > kept_pipe) {
        close_all(behind_pipe, static_cast<unsigned>(*kept) - 1);
        close_all(static_cast<unsigned>(*kept) + 1, UINT_MAX);
    } else {
        close_all(behind_pipe, UINT_MAX);
    }
    ::signal(SIGPIPE, SIG_IGN);  // a parent that is gone is found by writing to it
    if (!point_input_at_null()) {
        return false;
    }
    point_at_null(STDOUT_FILENO);
    return true;
}

}  // namespace

StartReport daemonise(const std::function<StartReport(const std::function<void()>& ready)>& body, StartExitCodes codes,
                      std::optional<int> kept) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return {codes.refused,
                "no pipe to the daemon: " + message_of(errno) + "; raise the limit on open files (ulimit -n)", 0};
    }
    std::fflush(nullptr);
    SignalsForChild signals;
    const pid_t child = ::fork();
    if (child < 0) {
        const int reason = errno;
        signals.restore();
        ::close(pipe[0]);
        ::close(pipe[1]);
        return {codes.refused,
                "no process for the daemon: " + message_of(reason) +
                    "; raise the limit on processes (ulimit -u, pids.max of the cgroup) or on memory, or mount with -f",
                0};
    }
    if (child > 0) {
        ::close(pipe[1]);
        signals.forward_to(child);
        auto report = receive(pipe[0], child, codes.crashed);
        ::close(pipe[0]);
        signals.block();
        if (const int number = SignalsForChild::received()) {
            signals.restore();  // whoever does not want to wait for the child's end sends a second one
            wait_for(child);
            return {codes.crashed, "interrupted by signal " + std::to_string(number), number};
        }
        if (report.exit_code != 0) {
            signals.restore();
        }
        return report;  // of success, with the signals blocked: the exit status must not deny the mount that is there
    }

    signals.restore();
    int descriptor = number_of_pipe(kept);
    if (!let_go_of_the_shell(pipe[1], kept)) {
        const StartReport refused{codes.refused, "'/dev/null' cannot be opened: " + message_of(errno), 0};
        send(descriptor, refused);
        std::exit(refused.exit_code);  // NOLINT(concurrency-mt-unsafe): there are no threads yet
    }
    const auto report = body([&descriptor, &codes] {
        if (!send(descriptor, {}) && !codes.serves_others) {
            log::warn("nobody waits for the mount any more: unmounting it");
            ::kill(::getpid(), SIGTERM);  // to the thread that serves
        }
        point_at_null(STDERR_FILENO);
        ::close(descriptor);
        descriptor = -1;
    });
    if (descriptor >= 0) {
        send(descriptor, report);
        ::close(descriptor);
    }
    std::exit(report.exit_code);  // NOLINT(concurrency-mt-unsafe): every thread of the body has been joined
}

}  // namespace ckptfs
