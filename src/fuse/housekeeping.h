// A thread that tidies the file system up while it is served.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "fs/file_system.h"

namespace ckptfs {

/// Until it is destroyed. The thread takes no signals: they are for the one that serves.
class Housekeeping {
 public:
    explicit Housekeeping(FileSystem& file_system);
    Housekeeping(const Housekeeping&) = delete;
    Housekeeping& operator=(const Housekeeping&) = delete;
    ~Housekeeping();

 private:
    void run();

    FileSystem& file_system_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ends_ = false;
    std::thread thread_;
};

}  // namespace ckptfs
