// One datagram for each state, as sd_notify(3) documents it under "Notes".
#include "host/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>

#include "util/text.h"

namespace ckptfs {

Result<void> tell_service_manager(const std::string& socket, std::string_view state) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const bool is_abstract = socket.starts_with('@');
    if ((!is_abstract && !socket.starts_with('/')) || socket.size() < 2 || socket.size() >= sizeof(address.sun_path)) {
        return Error(ErrorCode::invalid_argument,
                     "NOTIFY_SOCKET is " + in_quotes(socket) +
                         ", but must be the path of a socket, or @ and the name of an abstract one; unset it where no "
                         "service manager waits for the mount");
    }
    std::copy(socket.begin(), socket.end(), std::begin(address.sun_path));
    if (is_abstract) {
        address.sun_path[0] = '\0';
    }
    // The name of an abstract socket ends with the address, that of a path with a zero byte within it.
    const std::size_t nbytes = offsetof(sockaddr_un, sun_path) + socket.size() + (is_abstract ? 0 : 1);
    const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent = -1;
    if (descriptor >= 0) {
        do {
            // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): that is how sockets take addresses
            const auto* generic = reinterpret_cast<const sockaddr*>(&address);
            sent =
                ::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL, generic, static_cast<socklen_t>(nbytes));
        } while (sent < 0 && errno == EINTR);
    }
    const int reason = errno;
    if (descriptor >= 0) {
        ::close(descriptor);
    }
    if (sent < 0) {
        return Error(ErrorCode::io,
                     "the service manager cannot be told at NOTIFY_SOCKET " + in_quotes(socket) + ": " +
                         std::generic_category().message(reason) + "; it may give the mount up",
                     reason);
    }
    return {};
}

}  // namespace ckptfs
