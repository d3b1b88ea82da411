// A flag that says that something is going on.
#pragma once

#include <atomic>

namespace ckptfs {

/// Set while this lives.
class ScopedFlag {
 public:
    explicit ScopedFlag(std::atomic<bool>& flag) : flag_(flag) { flag_ = true; }
    ScopedFlag(const ScopedFlag&) = delete;
    ScopedFlag& operator=(const ScopedFlag&) = delete;
    ~ScopedFlag() { flag_ = false; }

 private:
    std::atomic<bool>& flag_;
};

}  // namespace ckptfs
