// Voluntary context switches, as getrusage(2) counts them.
#include "stream/waiting_clock.h"

#include <sys/resource.h>

namespace ckptfs {

std::chrono::steady_clock::time_point waiting_clock() {
    struct Known {
        std::chrono::steady_clock::time_point waited;
        std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now();
        long switches = -1;
    };
    thread_local Known last;
    rusage usage{};
    const bool is_known = ::getrusage(RUSAGE_THREAD, &usage) == 0;
    const auto now = std::chrono::steady_clock::now();
    if (!is_known || usage.ru_nvcsw != last.switches) {
        last.waited += now - last.now;
    }
    last.now = now;
    last.switches = usage.ru_nvcsw;
    return last.waited;
}

}  // namespace ckptfs
