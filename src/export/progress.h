// What a person is told of an export while it goes on.
#pragma once

#include <functional>
#include <string>

#include "export/counters.h"

namespace ckptfs::exporting {

/// "12.3 GB of 45.6 GB (27 %), 1.2 GB/s, 28 s left". `rate`: bytes a second; 0 where it is not known.
[[nodiscard]] std::string progress_text(const Counters& counters, double rate);

/// The same at each moment when it is called, with the rate since it was called before.
[[nodiscard]] std::function<std::string()> progress_of(const Counters& counters);

}  // namespace ckptfs::exporting
