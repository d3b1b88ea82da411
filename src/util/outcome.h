// What an operation of a file system comes to: a value, or the errno to answer with.
#pragma once

#include <memory>
#include <utility>

#include "ckptfs/result.h"

namespace ckptfs {

struct Errno {
    int value = 0;
    /// What stands behind it, where there is more to say; for whoever reads without a kernel in between.
    std::shared_ptr<const Error> reason = nullptr;
};

/// The value of an operation that has none.
struct Done {};

/// `error` is 0 or an errno; `value` means something only where `error` is 0.
template <class T>
struct [[nodiscard]] Outcome {
    Outcome(T result) : value(std::move(result)) {}  // NOLINT(google-explicit-constructor)
    Outcome(Errno failure)
        : error(failure.value), reason(std::move(failure.reason)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const { return error == 0; }
    /// For an operation that fails because this one did.
    [[nodiscard]] Errno failure() const { return {error, reason}; }

    int error = 0;
    std::shared_ptr<const Error> reason = nullptr;
    T value{};
};

}  // namespace ckptfs
