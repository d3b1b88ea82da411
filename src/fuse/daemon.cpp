// Fork first, report through a pipe, let go of the shell.
#include "fuse/daemon.h"

#include <fcntl.h>
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
#include <system_error>

namespace ckptfs {
namespace {

std::string message_of(int reason) {
    return std::generic_category().message(reason);
}

void write_all(int descriptor, const void* data, std::size_t nbytes) {
    const auto* at = static_cast<const char*>(data);
    while (nbytes > 0) {
        const ssize_t done = ::write(descriptor, at, nbytes);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return;  // the parent is gone: nobody left to tell
        }
        at += done;
        nbytes -= static_cast<std::size_t>(done);
    }
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
void send(int descriptor, const StartReport& report) {
    const std::int32_t exit_code = report.exit_code;
    write_all(descriptor, &exit_code, sizeof(exit_code));
    write_all(descriptor, report.message.data(), report.message.size());
}

StartReport receive(int descriptor, pid_t child, int crash_exit_code) {
    const auto text = read_all(descriptor);
    std::int32_t exit_code = 0;
    if (text.size() >= sizeof(exit_code)) {
        std::memcpy(&exit_code, text.data(), sizeof(exit_code));
        return {exit_code, text.substr(sizeof(exit_code))};
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const auto how = WIFSIGNALED(status) ? "killed by signal " + std::to_string(WTERMSIG(status))
                                         : "with exit code " + std::to_string(WEXITSTATUS(status));
    return {crash_exit_code, "the daemon ended before the mount was ready, " + how};
}

void point_at_null(int descriptor) {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        ::dup2(null, descriptor);
        ::close(null);
    }
}

// Returns the pipe's new number, the only descriptor left beside standard error.
int let_go_of_the_shell(int pipe) {
    ::setsid();
    if (::chdir("/") != 0) {
        std::perror("chdir");
    }
    point_at_null(STDIN_FILENO);
    point_at_null(STDOUT_FILENO);
    constexpr int kept = STDERR_FILENO + 1;
    if (pipe != kept) {
        ::dup3(pipe, kept, O_CLOEXEC);
    }
    ::close_range(kept + 1, UINT_MAX, 0);
    return kept;
}

}  // namespace

StartReport daemonise(const std::function<StartReport(const std::function<void()>& ready)>& body, int crash_exit_code) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return {crash_exit_code, "no pipe to the daemon: " + message_of(errno)};
    }
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {
        const int reason = errno;
        ::close(pipe[0]);
        ::close(pipe[1]);
        return {crash_exit_code, "no process for the daemon: " + message_of(reason)};
    }
    if (child > 0) {
        ::close(pipe[1]);
        auto report = receive(pipe[0], child, crash_exit_code);
        ::close(pipe[0]);
        return report;
    }

    int descriptor = let_go_of_the_shell(pipe[1]);
    const auto report = body([&descriptor] {
        send(descriptor, {});
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
