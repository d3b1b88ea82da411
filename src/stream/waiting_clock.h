// How long a thread has waited.
#pragma once

#include <chrono>

namespace ckptfs {

/// Goes on between two calls of one thread only if the thread gave its processor away meanwhile, as who waits for a
/// disk or another thread does. On a busy machine that others took the processor says nothing about who was read from.
/// Only differences between calls of one thread mean anything.
[[nodiscard]] std::chrono::steady_clock::time_point waiting_clock();

}  // namespace ckptfs
