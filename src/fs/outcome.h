// What a file system operation comes to: a value, or the errno to answer with.
#pragma once

#include <utility>

namespace ckptfs {

/// `error` is 0 or an errno; `value` means something only where `error` is 0.
template <class T>
struct [[nodiscard]] Outcome {
    Outcome(T result) : value(std::move(result)) {}     // NOLINT(google-explicit-constructor)
    static Outcome failed(int error_number) { return Outcome(error_number, Failed{}); }

    [[nodiscard]] bool ok() const { return error == 0; }

    int error = 0;
    T value{};

   private:
    struct Failed {};
    Outcome(int error_number, Failed /*tag*/) : error(error_number) {}
};

}  // namespace ckptfs
