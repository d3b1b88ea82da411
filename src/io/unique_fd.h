// A file descriptor that closes itself.
#pragma once

#include <unistd.h>

#include <utility>

namespace ckptfs::io {

class UniqueFd {
 public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() {
        if (fd_ >= 0) {
            ::close(fd_);  // of a descriptor opened for reading: nothing is lost when it fails
        }
    }

    [[nodiscard]] int get() const { return fd_; }
    /// Leaves the descriptor to the caller, who has to close it.
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    [[nodiscard]] bool valid() const { return fd_ >= 0; }

 private:
    int fd_ = -1;
};

}  // namespace ckptfs::io
