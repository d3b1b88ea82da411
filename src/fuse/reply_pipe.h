// Replies whose bytes the kernel moves from files to readers by itself.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "ckptfs/source.h"
#include "fuse/libfuse.h"
#include "io/unique_fd.h"

namespace ckptfs {

/// A pipe that takes a reply, its header first, and hands it to /dev/fuse. Of one thread at a time.
class ReplyPipe final : public PageTarget {
 public:
    /// What fits into a pipe that anybody may have, of 256 buffers: one is the header's, and each of four pieces may
    /// begin and end on a page that it does not fill.
    static constexpr std::size_t most_nbytes = std::size_t{248} * 4096;

    /// Of the request that this thread has read last.
    [[nodiscard]] bool begin(std::uint64_t nbytes) override;
    [[nodiscard]] bool is_empty() const override { return taken_ == 0; }
    [[nodiscard]] bool take(int descriptor, std::uint64_t offset, std::uint64_t nbytes) override;
    [[nodiscard]] bool take(std::span<const std::byte> bytes) override;

    /// Lets go of what was taken for nothing.
    void empty();
    /// Answers the request with what was taken since begin(), which is all that was to follow.
    void reply(fuse_req_t request);
    /// The next reply of this thread is this one.
    void arm();

    // What stands between libfuse and /dev/fuse calls these two.

    /// Of a request that this thread has read.
    static void see_request(const void* buffer, std::size_t nbytes) noexcept;
    /// The reply that `header` begins, if it is that of a reply(): as writev() answers. False: it is any other.
    static bool writes(int device, const iovec& header, ssize_t& answer) noexcept;

 private:
    [[nodiscard]] ssize_t send(int device) noexcept;
    [[nodiscard]] ssize_t copy(int device) noexcept;
    [[nodiscard]] bool open();
    [[nodiscard]] bool write_header();
    [[nodiscard]] bool write(std::span<const std::byte> bytes);
    void close();

    io::UniqueFd read_end_;
    io::UniqueFd write_end_;
    bool has_content_ = false;
    bool is_refused_ = false;  // a pipe of that size
    std::uint64_t unique_ = 0;
    std::uint64_t nbytes_ = 0;  // of the whole reply
    std::uint64_t taken_ = 0;
};

/// A few pipes for all threads. Safe for concurrent use.
class ReplyPipes {
 public:
    ReplyPipes();

    struct GiveBack {
        void operator()(ReplyPipe* pipe) const;
        ReplyPipes* pipes = nullptr;
    };
    using Loan = std::unique_ptr<ReplyPipe, GiveBack>;

    /// nullptr: others have them all.
    [[nodiscard]] Loan borrow();

 private:
    /// As many as a node has ranks, mostly. A user who is not root may have 64 of this size in all, before each further
    /// pipe, of any program, gets two pages (fs.pipe-user-pages-soft).
    static constexpr std::size_t most = 8;

    std::array<ReplyPipe, most> pipes_;
    std::mutex mutex_;
    std::array<ReplyPipe*, most> free_{};
    std::size_t free_count_ = most;
};

/// A pipe that is borrowed when there is something for it.
class BorrowedPipe final : public PageTarget {
 public:
    explicit BorrowedPipe(ReplyPipes& pipes) : pipes_(pipes) {}

    [[nodiscard]] bool begin(std::uint64_t nbytes) override;
    [[nodiscard]] bool is_empty() const override { return !pipe_ || pipe_->is_empty(); }
    [[nodiscard]] bool take(int descriptor, std::uint64_t offset, std::uint64_t nbytes) override;
    [[nodiscard]] bool take(std::span<const std::byte> bytes) override;

    /// As that of the pipe, which there is once begin() has answered true.
    void reply(fuse_req_t request) { pipe_->reply(request); }

 private:
    ReplyPipes& pipes_;
    ReplyPipes::Loan pipe_;
};

}  // namespace ckptfs
