// How a command that reads for long ends when its caller wants it to.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "io/system_calls.h"

namespace ckptfs::c {

/// Whether the caller has said so. Asks it ten times a second at most; once it has, always true. Safe for concurrent
/// use.
class Interruption {
 public:
    explicit Interruption(std::function<bool()> ask) : ask_(std::move(ask)) {}

    [[nodiscard]] bool is_wanted() const;

 private:
    std::function<bool()> ask_;
    mutable std::atomic<bool> is_wanted_ = false;
    mutable std::atomic<std::int64_t> next_ms_ = 0;  // when to ask again, of the steady clock
};

/// The real ones, until the caller wants an end: reads fail with ECANCELED then.
class InterruptibleCalls final : public io::SystemCalls {
 public:
    explicit InterruptibleCalls(std::shared_ptr<const Interruption> interruption)
        : interruption_(std::move(interruption)) {}

    ssize_t read_at(int fd, std::byte* buffer, std::size_t nbytes, std::uint64_t offset) const override;

 private:
    std::shared_ptr<const Interruption> interruption_;
};

}  // namespace ckptfs::c
