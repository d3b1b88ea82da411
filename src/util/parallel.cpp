// Threads that take the next number until there is none.
#include "util/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "util/machine_limits.h"

namespace ckptfs {

std::size_t threads_for_processors(std::size_t most) {
    return std::min(processors(), most);
}

void for_each_in_parallel(std::size_t count, std::size_t threads, const std::function<bool(std::size_t)>& body) {
    std::atomic<std::size_t> next = 0;
    std::atomic<bool> stopped = false;
    std::mutex mutex;
    std::exception_ptr thrown;
    const auto work = [&] {
        try {
            while (!stopped) {
                const std::size_t number = next++;
                if (number >= count) {
                    return;
                }
                if (!body(number)) {
                    stopped = true;
                }
            }
        } catch (...) {
            stopped = true;
            const std::lock_guard lock(mutex);
            thrown = thrown ? thrown : std::current_exception();
        }
    };
    {
        std::vector<std::jthread> others;
        try {
            for (std::size_t i = 1; i < threads && i < count; ++i) {
                others.emplace_back(work);
            }
        } catch (const std::system_error&) {
            // The system has no further thread for us: those that there are do all the work.
        }
        work();
    }
    if (thrown) {
        std::rethrow_exception(thrown);
    }
}

}  // namespace ckptfs
