// A source whose stamps do not depend on the numbers that the system gives to devices.
#pragma once

#include <memory>

#include "ckptfs/source.h"

namespace ckptfs::io {

/// `inner`, except that the device of everything that lies on the root's is 0. The number of a network file system, and
/// of some others, is another each time it is mounted, which is no change of what lies on it.
Result<std::shared_ptr<const Source>> without_device(std::shared_ptr<const Source> inner);

}  // namespace ckptfs::io
