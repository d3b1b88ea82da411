// System calls on a mount's root, and fusermount3 where only that may unmount.
#include "host/mount_control.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <system_error>
#include <vector>

#include "host/mount_point.h"
#include "util/own_names.h"
#include "util/text.h"

namespace ckptfs {
namespace {

std::string text_of_errno(int reason) {
    return std::generic_category().message(reason);
}

Error no_answer(const std::string& mount_point, int reason) {
    const std::string start = in_quotes(mount_point) + " ";
    switch (reason) {
        case ENOTCONN:
        case ECONNABORTED:
        case ESHUTDOWN:
            return {
                ErrorCode::mount,
                start + "is a stale mount whose daemon is gone; clear it with: ckptfs umount " + in_quotes(mount_point),
                reason};
        case EACCES:
        case EPERM:
            return {ErrorCode::mount,
                    start + "does not answer this user (" + text_of_errno(reason) +
                        "): only who mounted it and root may ask, and root only where it was mounted with "
                        "--allow-other",
                    reason};
        case ENODATA:
        case ENOTTY:
        case EOPNOTSUPP:
            return {ErrorCode::mount,
                    start + "does not know this question: it is no mount of ckptfs, or one of another version", reason};
        case ENOENT:
            return {ErrorCode::mount, start + "does not exist; `ckptfs list` names the mounts that there are", reason};
        default:
            return {ErrorCode::mount, start + "does not answer: " + text_of_errno(reason), reason};
    }
}

void write_whole(int descriptor, const void* data, std::size_t nbytes) noexcept {
    const auto* at = static_cast<const char*>(data);
    while (nbytes > 0) {
        const ssize_t count = ::write(descriptor, at, nbytes);
        if (count < 0 && errno != EINTR) {
            return;
        }
        at += std::max<ssize_t>(count, 0);
        nbytes -= static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    }
}

/// How much came before the end.
std::size_t read_whole(int descriptor, void* data, std::size_t nbytes) noexcept {
    auto* const start = static_cast<char*>(data);
    std::size_t got = 0;
    while (got < nbytes) {
        const ssize_t count = ::read(descriptor, start + got, nbytes - got);
        if (count == 0 || (count < 0 && errno != EINTR)) {
            break;
        }
        got += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    }
    return got;
}

/// What fusermount3 says where it fails; "" where it unmounted.
Result<std::string> run_fusermount(const std::string& mount_point, const std::string& options) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return Error(ErrorCode::io, "no pipe to fusermount3: " + text_of_errno(errno), errno);
    }
    posix_spawn_file_actions_t actions{};
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDERR_FILENO);
    std::array<std::string, 4> words{"fusermount3", options, "--", mount_point};
    std::array<char*, 5> arguments{words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
    pid_t child = 0;
    const int failure = ::posix_spawnp(&child, words[0].c_str(), &actions, nullptr, arguments.data(), ::environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(pipe[1]);
    std::string said;
    std::array<char, 512> buffer{};
    for (ssize_t got = 0; failure == 0;) {
        got = ::read(pipe[0], buffer.data(), buffer.size());
        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        said.append(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    }
    ::close(pipe[0]);
    if (failure != 0) {
        return Error(ErrorCode::mount,
                     "fusermount3, which unmounts for users other than root, cannot be run (" + text_of_errno(failure) +
                         "); it is in the package fuse3",
                     failure);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const bool is_done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return is_done ? std::string() : "fusermount3 failed: " + trimmed(said);
}

Error refused(const std::string& mount_point, const std::string& why) {
    return {ErrorCode::mount, in_quotes(mount_point) + " cannot be unmounted: " + why};
}

/// fusermount3 looks there for who has mounted, before it unmounts for users other than root.
std::string advice_on_table(const std::string& said) {
    return said.find("/etc/mtab") == std::string::npos
               ? ""
               : "; let root make it the kernel's table of mounts: ln -sf /proc/self/mounts /etc/mtab";
}

constexpr const char* busy_advice =
    "it is in use: end who uses it (fuser -vm names them), or let it end with its last user: ckptfs umount --lazy ";

}  // namespace

/// In a process of its own: where the daemon has read a question and says nothing, the kernel lets nobody go who asked,
/// not even to end.
Result<std::string> ask_mount(const std::string& mount_point, std::string_view name) {
    const std::string attribute = std::string(own_attributes) + std::string(name);
    std::string value(max_attribute_nbytes, '\0');
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return Error(ErrorCode::io, "no pipe to ask " + in_quotes(mount_point) + " with: " + text_of_errno(errno),
                     errno);
    }
    const pid_t child = ::fork();
    if (child == 0) {  // system calls alone: other threads may have held any lock
        for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
            if (stream != pipe[1]) {
                ::close(stream);  // who reads what the command says is not to wait for this
            }
        }
        const ssize_t nbytes = ::getxattr(mount_point.c_str(), attribute.c_str(), value.data(), value.size());
        const int reason = nbytes < 0 ? errno : 0;
        write_whole(pipe[1], &reason, sizeof(reason));
        write_whole(pipe[1], value.data(), nbytes < 0 ? 0 : static_cast<std::size_t>(nbytes));
        ::_exit(0);
    }
    const int failure = child < 0 ? errno : 0;
    ::close(pipe[1]);
    int reason = failure;
    std::size_t got = 0;
    if (child > 0) {
        reason = read_whole(pipe[0], &reason, sizeof(reason)) == sizeof(reason) ? reason : EIO;
        got = read_whole(pipe[0], value.data(), value.size());
        while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    ::close(pipe[0]);
    if (reason != 0) {
        return no_answer(mount_point, reason);
    }
    value.resize(got);
    return value;
}

Result<void> set_log_level_of(const std::string& mount_point, log::Level level) {
    const int root = ::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return no_answer(mount_point, errno);
    }
    auto number = static_cast<std::uint32_t>(level);
    const int outcome = ::ioctl(root, set_log_level_request, &number);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    const int reason = outcome < 0 ? errno : 0;
    ::close(root);
    return reason == 0 ? Result<void>() : no_answer(mount_point, reason);
}

Result<void> unmount(const std::string& real_mount_point, Unmounting how) {
    const bool is_lazy = how == Unmounting::lazily;
    if (::umount2(real_mount_point.c_str(), UMOUNT_NOFOLLOW | (is_lazy ? MNT_DETACH : 0)) == 0) {
        return {};
    }
    if (errno == EBUSY) {
        return refused(real_mount_point, busy_advice + in_quotes(real_mount_point));
    }
    if (errno != EPERM) {
        return refused(real_mount_point, text_of_errno(errno));
    }
    CKPTFS_ASSIGN(const std::string failure, run_fusermount(real_mount_point, is_lazy ? "-uz" : "-u"));
    if (failure.empty()) {
        return {};
    }
    const bool is_busy = failure.find("busy") != std::string::npos;
    return refused(real_mount_point,
                   is_busy ? busy_advice + in_quotes(real_mount_point) : failure + advice_on_table(failure));
}

std::string text_of(const ProcessId& process) {
    return std::to_string(process.number) + " " + std::to_string(process.started);
}

Result<ProcessId> parse_process_id(const std::string& text) {
    ProcessId process;
    const char* const end = text.data() + text.size();
    const auto number = std::from_chars(text.data(), end, process.number);
    if (number.ec == std::errc() && number.ptr != end && *number.ptr == ' ') {
        const auto started = std::from_chars(number.ptr + 1, end, process.started);
        if (started.ec == std::errc() && started.ptr == end && process.number > 0) {
            return process;
        }
    }
    return Error(ErrorCode::mount, in_quotes(text) + " is no process as a mount of this version names its daemon");
}

namespace {

/// Of the process `name` in /proc; nullopt where there is none that runs.
std::optional<std::uint64_t> start_of(const std::string& name) {
    std::ifstream stream("/proc/" + name + "/stat");
    std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    // NUMBER (NAME) STATE ...: the name may hold anything.
    const std::size_t end_of_name = text.rfind(')');
    if (end_of_name == std::string::npos) {
        return std::nullopt;
    }
    std::istringstream fields(text.substr(end_of_name + 1));
    const std::vector<std::string> words{std::istream_iterator<std::string>(fields), {}};
    constexpr std::size_t start_field = 19;  // the 22nd of all
    if (words.size() <= start_field || words.front() == "Z" || words.front() == "X") {
        return std::nullopt;
    }
    std::uint64_t started = 0;
    const std::string& word = words.at(start_field);
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), started);
    return parsed.ec == std::errc() ? std::optional(started) : std::nullopt;
}

}  // namespace

ProcessId this_process() {
    return {::getpid(), start_of("self").value_or(0)};
}

bool is_running(const ProcessId& process) {
    return start_of(std::to_string(process.number)) == process.started;
}

Result<std::string> real_mount_point(const std::string& path) {
    auto real = real_path(path);
    // What is stale, and what another user has mounted, cannot be looked at, but the way to it can.
    const int reason = real ? 0 : real.error().system_errno();
    if (!daemon_is_gone(reason) && reason != EACCES) {
        return real;
    }
    const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
    const std::filesystem::path point = normal.has_filename() ? normal : normal.parent_path();
    CKPTFS_ASSIGN(const std::string parent, real_path(point.parent_path().string()));
    return (std::filesystem::path(parent) / point.filename()).string();
}

}  // namespace ckptfs
