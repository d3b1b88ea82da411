// Memory that is free, and still the process's.
#pragma once

namespace ckptfs {

/// Gives back to the system what the allocator keeps for later: after much was freed at once. Takes milliseconds.
void give_back_free_memory();

}  // namespace ckptfs
