// By glibc's own means; no other allocator is known to have any.
#include "util/free_memory.h"

#include <cstdlib>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace ckptfs {

void give_back_free_memory() {
#ifdef __GLIBC__
    ::malloc_trim(0);
#endif
}

}  // namespace ckptfs
