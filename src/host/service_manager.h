// Telling a service manager how a service does: the protocol of sd_notify(3), without its library.
#pragma once

#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs {

/// Sends `state`, lines such as "READY=1", to `socket`, the value of NOTIFY_SOCKET: a path, or "@" and a name in the
/// abstract name space. `io` where it cannot be reached, `invalid_argument` where it is neither.
Result<void> tell_service_manager(const std::string& socket, std::string_view state);

}  // namespace ckptfs
