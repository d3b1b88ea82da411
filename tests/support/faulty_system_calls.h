// System calls that fail on demand, and count.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "io/system_calls.h"

namespace ckptfs::test {

/// The real ones, until a test says otherwise. Safe for concurrent use.
class FaultySystemCalls final : public io::SystemCalls {
 public:
    int open_at(int directory, const char* path, int flags) const override {
        ++opens;
        if (take(failing_opens)) {
            return -open_errno;
        }
        return SystemCalls::open_at(directory, path, flags);
    }

    int open_real_at(int directory, const char* path, int flags) const override {
        ++opens;
        if (take(failing_opens)) {
            return -open_errno;
        }
        return SystemCalls::open_real_at(directory, path, flags);
    }

    int open_directory_below(int directory, const std::string& path) const override {
        ++opens;
        if (take(failing_opens)) {
            return -open_errno;
        }
        return SystemCalls::open_directory_below(directory, path);
    }

    int create_at(int directory, const char* path, int flags, mode_t mode) const override {
        ++opens;
        if (take(failing_creates)) {
            return -open_errno;
        }
        return SystemCalls::create_at(directory, path, flags, mode);
    }

    ssize_t write_at(int fd, const std::byte* data, std::size_t nbytes, std::uint64_t offset) const override {
        if (take(interrupted_writes)) {
            return -EINTR;
        }
        const int working = working_writes;
        if (working == 0) {
            return -write_errno;
        }
        working_writes = working - 1;
        return SystemCalls::write_at(fd, data, std::min<std::size_t>(nbytes, longest_write), offset);
    }

    ssize_t write_otherwise_at(int fd, const std::byte* data, std::size_t nbytes,
                               std::optional<std::uint64_t> offset) const override {
        return writes_otherwise ? SystemCalls::write_otherwise_at(fd, data, nbytes, offset) : -EOPNOTSUPP;
    }

    ssize_t read_at(int fd, std::byte* buffer, std::size_t nbytes, std::uint64_t offset) const override {
        ++reads;
        if (take(interrupted_reads)) {
            return -EINTR;
        }
        if (take(failing_reads)) {
            return -read_errno;
        }
        if (take(empty_reads)) {
            return 0;
        }
        return SystemCalls::read_at(fd, buffer, std::min<std::size_t>(nbytes, longest_read), offset);
    }

    ssize_t copy_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset,
                       std::size_t nbytes) const override {
        if (take(interrupted_copies)) {
            return -EINTR;
        }
        if (take(failing_copies)) {
            return -copy_errno;
        }
        return SystemCalls::copy_range(from, from_offset, to, to_offset, std::min<std::size_t>(nbytes, longest_copy));
    }

    int stat_at(int directory, const char* path, struct stat& out, int flags) const override {
        ++stats;
        const int answer = SystemCalls::stat_at(directory, path, out, flags);
        if (forgets_inodes && S_ISREG(out.st_mode)) {
            out.st_ino = ++made_up_inodes;
        }
        if (answer == 0 && after_stat) {
            after_stat(path);
        }
        return answer;
    }

    int stat_descriptor(int fd, struct stat& out) const override {
        ++stats;
        if (take(failing_stats)) {
            return -EIO;
        }
        return SystemCalls::stat_descriptor(fd, out);
    }

    [[nodiscard]] bool is_view(dev_t device) const override {
        return everything_is_a_view || SystemCalls::is_view(device);
    }

    [[nodiscard]] bool is_fuse(dev_t device) const override {
        ++fuse_questions;
        return everything_is_fuse || SystemCalls::is_fuse(device);
    }

    void pause() const override { ++pauses; }

    int list(int fd, std::vector<RawEntry>& out) const override {
        ++lists;
        if (before_list) {
            before_list();
        }
        if (take(failing_lists)) {
            ::close(fd);
            return -EIO;
        }
        const int answer = SystemCalls::list(fd, out);
        if (without_types) {
            for (RawEntry& entry : out) {
                entry.type = DT_UNKNOWN;
            }
        }
        return answer;
    }

    std::uint64_t raise_descriptor_limit() const override { return descriptor_limit; }

    mutable std::atomic<std::uint64_t> opens{0};
    mutable std::atomic<std::uint64_t> reads{0};
    mutable std::atomic<std::uint64_t> lists{0};
    mutable std::atomic<std::uint64_t> stats{0};  ///< by name and by descriptor
    mutable std::atomic<std::uint64_t> fuse_questions{0};
    mutable std::atomic<std::uint64_t> made_up_inodes{1'000'000};
    mutable std::atomic<std::uint64_t> pauses{0};
    mutable std::atomic<int> failing_opens{0};
    mutable std::atomic<int> failing_creates{0};  ///< the last step of what a SourceWriter opens
    mutable std::atomic<int> interrupted_reads{0};
    mutable std::atomic<int> failing_reads{0};
    mutable std::atomic<int> empty_reads{0};
    mutable std::atomic<int> interrupted_copies{0};
    mutable std::atomic<int> failing_copies{0};
    mutable std::atomic<int> failing_stats{0};
    mutable std::atomic<int> failing_lists{0};
    mutable std::atomic<int> interrupted_writes{0};
    mutable std::atomic<int> working_writes{INT_MAX};  ///< until all fail
    int open_errno = EMFILE;
    int read_errno = EIO;
    int copy_errno = EXDEV;
    int write_errno = ENOSPC;
    std::size_t longest_read = SIZE_MAX;
    std::size_t longest_copy = SIZE_MAX;
    std::size_t longest_write = SIZE_MAX;
    std::uint64_t descriptor_limit = 1024;
    bool writes_otherwise = true;  ///< than the descriptor is open for, as Linux does since 6.9
    bool without_types = false;
    std::function<void()> before_list;
    std::function<void(const char* path)> after_stat;  ///< by name, of what is there
    bool everything_is_a_view = false;
    bool everything_is_fuse = false;
    bool forgets_inodes = false;  ///< of regular files: each look by name finds another number

 private:
    /// Whether one of `left` was there to take.
    static bool take(std::atomic<int>& left) {
        int count = left.load();
        while (count > 0) {
            if (left.compare_exchange_weak(count, count - 1)) {
                return true;
            }
        }
        return false;
    }
};

}  // namespace ckptfs::test
