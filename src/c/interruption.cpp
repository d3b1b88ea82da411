// Asked where bytes are read, since every long command reads.
#include "c/interruption.h"

#include <cerrno>
#include <chrono>

namespace ckptfs::c {

bool Interruption::is_wanted() const {
    constexpr std::int64_t pause_ms = 100;
    if (is_wanted_) {
        return true;
    }
    const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
    const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(since_start).count();
    std::int64_t due_ms = next_ms_;
    if (now_ms < due_ms || !next_ms_.compare_exchange_strong(due_ms, now_ms + pause_ms)) {
        return false;
    }
    if (ask_()) {
        is_wanted_ = true;
    }
    return is_wanted_;
}

ssize_t InterruptibleCalls::read_at(int fd, std::byte* buffer, std::size_t nbytes, std::uint64_t offset) const {
    return interruption_->is_wanted() ? -ECANCELED : SystemCalls::read_at(fd, buffer, nbytes, offset);
}

}  // namespace ckptfs::c
