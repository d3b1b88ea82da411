// What schedulers send to all processes of a job, and what no mount is meant by.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

namespace ckptfs {

/// "SIGTERM", "SIGRTMIN+3"; "signal 77" for one that has no name here.
[[nodiscard]] std::string name_of_signal(int number);
/// " from process 12 of user 0"; pid 0 is the kernel, which speaks for the terminal too.
[[nodiscard]] std::string sender_of_signal(pid_t process, std::uint32_t user);

/// Keeps SIGUSR1, SIGUSR2, SIGQUIT, SIGALRM and the like, whose default is to end a process, from this thread and those
/// that it starts. For good: who calls it has a process of its own, or is about to end.
void block_job_signals();

/// Whether SIGHUP ends a mount, or has its log opened anew.
enum class HangUp : std::uint8_t { ends, reopens_log };

/// While it lives, each of these signals is taken, and a line of the log says so; SIGHUP among them where it reopens
/// the log, be it ignored before or not. Made before other threads are: those are not to take them.
class JobSignalLog {
 public:
    explicit JobSignalLog(HangUp hang_up = HangUp::ends);
    JobSignalLog(const JobSignalLog&) = delete;
    JobSignalLog& operator=(const JobSignalLog&) = delete;
    ~JobSignalLog();

 private:
    void take() const noexcept;

    const HangUp hang_up_;
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

}  // namespace ckptfs
