// What schedulers send to all processes of a job, and what no mount is meant by.
#pragma once

#include <atomic>
#include <thread>

namespace ckptfs {

/// Keeps SIGUSR1, SIGUSR2, SIGQUIT, SIGALRM and the like, whose default is to end a process, from this thread and those
/// that it starts. For good: who calls it has a process of its own, or is about to end.
void block_job_signals();

/// While it lives, each of these signals is taken, and a line of the log says so. Made before other threads are: those
/// are not to take them.
class JobSignalLog {
 public:
    JobSignalLog();
    JobSignalLog(const JobSignalLog&) = delete;
    JobSignalLog& operator=(const JobSignalLog&) = delete;
    ~JobSignalLog();

 private:
    void take() const noexcept;

    std::atomic<bool> over_ = false;
    std::thread thread_;
};

}  // namespace ckptfs
