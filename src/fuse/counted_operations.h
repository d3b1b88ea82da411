// Every operation of the adapter, counted and timed in one place.
#pragma once

#include "fuse/libfuse.h"

namespace ckptfs {

/// adapter_operations(), each of which tells the adapter's counters what became of a request, and at the level `debug`
/// the log.
const fuse_lowlevel_ops& counted_operations(bool writable);

}  // namespace ckptfs
