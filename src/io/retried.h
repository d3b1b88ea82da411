// System calls that a signal interrupts are made again.
#pragma once

#include <cerrno>

namespace ckptfs::io {

/// `call` answers minus an errno where it fails, as those of SystemCalls do.
template <class Call>
auto without_interruption(Call call) -> decltype(call()) {
    while (true) {
        const auto answer = call();
        if (answer != -EINTR) {
            return answer;
        }
    }
}

/// `call` is the system's own, with its error in errno; answers minus that.
template <class Call>
auto retried(Call call) -> decltype(call()) {
    return without_interruption([&] {
        const auto answer = call();
        return answer < 0 ? static_cast<decltype(answer + 0)>(-errno) : answer;
    });
}

}  // namespace ckptfs::io
