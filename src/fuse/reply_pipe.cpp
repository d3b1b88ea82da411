// Pages go from the page cache into a pipe, and from there to whoever reads, without having been this process's.
#include "fuse/reply_pipe.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fuse/replies.h"
#include "io/retried.h"
#include "util/log.h"

namespace ckptfs {
namespace {

constexpr int pipe_nbytes = 1 << 20;  // what anybody may have (fs.pipe-max-size)

thread_local std::uint64_t last_unique = 0;
thread_local ReplyPipe* replying = nullptr;

/// Tells whoever waits. As write(2), but with minus its errno.
ssize_t fail_request(int device, std::uint64_t unique, int error) noexcept {
    fuse_out_header header{};
    header.len = sizeof(header);
    header.error = -error;
    header.unique = unique;
    current_answer() = {.error = error};
    return io::retried([&] { return ::write(device, &header, sizeof(header)); });
}

}  // namespace

void ReplyPipe::see_request(const void* buffer, std::size_t nbytes) noexcept {
    fuse_in_header header{};
    if (nbytes >= sizeof(header)) {
        std::memcpy(&header, buffer, sizeof(header));
        last_unique = header.unique;
    }
}

bool ReplyPipe::open() {
    if (read_end_.valid()) {
        return true;
    }
    std::array<int, 2> ends{};
    if (is_refused_ || ::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
        return false;
    }
    read_end_ = io::UniqueFd(ends[0]);
    write_end_ = io::UniqueFd(ends[1]);
    // Who has many pipes may be refused one of this size.
    if (::fcntl(ends[1], F_SETPIPE_SZ, pipe_nbytes) < pipe_nbytes) {  // NOLINT(cppcoreguidelines-pro-type-vararg)
        is_refused_ = true;
        close();
        return false;
    }
    return true;
}

void ReplyPipe::close() {
    read_end_ = io::UniqueFd();
    write_end_ = io::UniqueFd();
}

void ReplyPipe::empty() {
    if (std::exchange(has_content_, false)) {
        close();
    }
}

bool ReplyPipe::begin(std::uint64_t nbytes) {
    empty();
    unique_ = last_unique;
    nbytes_ = sizeof(fuse_out_header) + nbytes;
    taken_ = 0;
    return unique_ != 0 && nbytes <= most_nbytes && open();
}

bool ReplyPipe::write_header() {
    fuse_out_header header{};
    header.len = static_cast<std::uint32_t>(nbytes_);
    header.unique = unique_;
    return write(std::as_bytes(std::span(&header, 1)));
}

bool ReplyPipe::write(std::span<const std::byte> bytes) {
    has_content_ = true;
    while (!bytes.empty()) {
        const ssize_t count = io::retried([&] { return ::write(write_end_.get(), bytes.data(), bytes.size()); });
        if (count <= 0) {
            return false;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        taken_ += static_cast<std::uint64_t>(count);
    }
    return true;
}

bool ReplyPipe::take(int descriptor, std::uint64_t offset, std::uint64_t nbytes) {
    if (is_empty() && !write_header()) {
        return false;
    }
    auto at = static_cast<loff_t>(offset);
    while (nbytes > 0) {
        const ssize_t count = io::retried(
            [&] { return ::splice(descriptor, &at, write_end_.get(), nullptr, nbytes, SPLICE_F_NONBLOCK); });
        if (count <= 0) {
            return false;
        }
        nbytes -= static_cast<std::uint64_t>(count);
        taken_ += static_cast<std::uint64_t>(count);
    }
    return true;
}

bool ReplyPipe::take(std::span<const std::byte> bytes) {
    return (!is_empty() || write_header()) && write(bytes);
}

void ReplyPipe::reply(fuse_req_t request) {
    current_answer().nbytes = nbytes_ - sizeof(fuse_out_header);
    current_answer().is_handed_over = true;
    arm();
    fuse_reply_buf(request, nullptr, 0);  // libfuse forgets the request; what it writes is exchanged
    replying = nullptr;
}

void ReplyPipe::arm() {
    replying = this;
}

bool ReplyPipe::writes(int device, const iovec& header, ssize_t& answer) noexcept {
    ReplyPipe* const pipe = std::exchange(replying, nullptr);
    if (pipe == nullptr) {
        return false;
    }
    fuse_out_header own{};
    if (header.iov_len < sizeof(own)) {
        return false;
    }
    std::memcpy(&own, header.iov_base, sizeof(own));
    if (own.unique != pipe->unique_ || pipe->taken_ != pipe->nbytes_) {
        log::error("a reply is not that of its request: it is answered with EIO");
        answer = fail_request(device, own.unique, EIO);
    } else {
        answer = pipe->send(device);
    }
    if (answer < 0) {
        errno = static_cast<int>(-answer);
        answer = -1;
    }
    return true;
}

ssize_t ReplyPipe::send(int device) noexcept {
    const ssize_t sent = io::retried([&] { return ::splice(read_end_.get(), nullptr, device, nullptr, nbytes_, 0); });
    if (sent == static_cast<ssize_t>(nbytes_)) {
        has_content_ = false;
        return sent;
    }
    if (sent == -ENOENT || sent == -ENODEV) {
        return sent;  // whoever asked has gone, or the mount has
    }
    return copy(device);
}

// Where the kernel does not move the pages: what it has not taken is still in the pipe.
ssize_t ReplyPipe::copy(int device) noexcept {
    const auto buffer = reply_buffer(nbytes_);
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        const auto rest = buffer.subspan(filled);
        const ssize_t count = io::retried([&] { return ::read(read_end_.get(), rest.data(), rest.size()); });
        if (count <= 0) {
            break;
        }
        filled += static_cast<std::size_t>(count);
    }
    if (filled < nbytes_) {
        return fail_request(device, unique_, EIO);
    }
    has_content_ = false;
    current_answer().is_handed_over = false;
    return io::retried([&] { return ::write(device, buffer.data(), nbytes_); });
}

ReplyPipes::ReplyPipes() {
    std::transform(pipes_.begin(), pipes_.end(), free_.begin(), [](ReplyPipe& pipe) { return &pipe; });
}

ReplyPipes::Loan ReplyPipes::borrow() {
    const std::lock_guard lock(mutex_);
    return {free_count_ > 0 ? free_.at(--free_count_) : nullptr, GiveBack{this}};
}

void ReplyPipes::GiveBack::operator()(ReplyPipe* pipe) const {
    pipe->empty();
    const std::lock_guard lock(pipes->mutex_);
    pipes->free_.at(pipes->free_count_++) = pipe;
}

bool BorrowedPipe::begin(std::uint64_t nbytes) {
    if (!pipe_) {
        pipe_ = pipes_.borrow();
    }
    return pipe_ && pipe_->begin(nbytes);
}

bool BorrowedPipe::take(int descriptor, std::uint64_t offset, std::uint64_t nbytes) {
    return pipe_->take(descriptor, offset, nbytes);
}

bool BorrowedPipe::take(std::span<const std::byte> bytes) {
    return pipe_->take(bytes);
}

}  // namespace ckptfs
