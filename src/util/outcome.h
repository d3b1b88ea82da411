// What an operation of a file system comes to: a value, or the errno to answer with.
#pragma once

#include <utility>

namespace ckptfs {

struct Errno {
    int value = 0;
};

/// The value of an operation that has none.
struct Done {};

/// `error` is 0 or an errno; `value` means something only where `error` is 0.
template <class T>
struct [[nodiscard]] Outcome {
    Outcome(T result) : value(std::move(result)) {}   // NOLINT(google-explicit-constructor)
    Outcome(Errno failure) : error(failure.value) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const { return error == 0; }

    int error = 0;
    T value{};
};

}  // namespace ckptfs
