// Work on numbered items by several threads, all of which end before the call does.
#pragma once

#include <cstddef>
#include <functional>

namespace ckptfs {

/// As many threads as there are processors for this process, at least 1 and at most `most`.
[[nodiscard]] std::size_t threads_for_processors(std::size_t most);

/// Calls `body` with 0, 1, … up to `count` - 1, begun in this order, by up to `threads` threads at a time, the caller's
/// among them. Once one call has answered false no further ones begin: all numbers below that one have had theirs. What
/// `body` throws is thrown on, once all calls have ended.
void for_each_in_parallel(std::size_t count, std::size_t threads, const std::function<bool(std::size_t)>& body);

}  // namespace ckptfs
