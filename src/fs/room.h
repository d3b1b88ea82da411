// Another try for what lacked memory that others will give back.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>

#include "ckptfs/result.h"
#include "fs/source_tree.h"
#include "util/memory_budget.h"

namespace ckptfs {

/// Whether the budget of memory had too little left for it.
[[nodiscard]] inline bool lacks_memory(const Error& error) {
    return error.code() == ErrorCode::io && error.system_errno() == ENOMEM;
}

/// What `attempt` comes to, called again while `lacks` says that its result lacked memory: what others hold is waited
/// for, up to five seconds, since files are read and closed. One caller at a time tries again, or two that fit one
/// after the other would keep refusing each other. What failed holds no memory.
template <class Attempt, class Lacks>
auto once_there_is_room(SourceTree& tree, const Attempt& attempt, const Lacks& lacks) -> decltype(attempt()) {
    constexpr std::chrono::milliseconds first_pause{20};
    constexpr std::chrono::milliseconds longest_pause{160};
    constexpr std::chrono::milliseconds patience{5000};
    auto result = attempt();
    if (!lacks(result)) {
        return result;
    }
    const auto begin = tree.now();
    std::chrono::milliseconds slept{0};
    for (auto pause = first_pause;; pause = std::min(2 * pause, longest_pause)) {
        std::unique_lock turn(tree.turn_for_memory(), std::try_to_lock);
        if (turn.owns_lock()) {
            result = attempt();
            const bool is_held_by_others = MemoryBudget::of_process().held() > 0;
            if (!lacks(result) || !is_held_by_others) {
                return result;
            }
            turn.unlock();
        }
        if (slept >= patience || tree.now() - begin >= patience) {
            return result;
        }
        tree.clocks().sleep(pause);
        slept += pause;
    }
}

/// The same for a Result.
template <class Attempt>
auto once_there_is_room(SourceTree& tree, const Attempt& attempt) -> decltype(attempt()) {
    return once_there_is_room(tree, attempt,
                              [](const auto& result) { return !result && lacks_memory(result.error()); });
}

}  // namespace ckptfs
