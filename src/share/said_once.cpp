// An empty file where temporary ones lie.
#include "share/said_once.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "share/shared_place.h"

namespace ckptfs::share {

bool is_first_time(const std::string& what, const Variables& variables) {
    const std::string path = runtime_directory(variables) + "/ckptfs-" + std::to_string(::geteuid()) + "-told-" + what;
    constexpr mode_t private_mode = 0600;
    // Whatever is there already, be it another user's, is not followed and not changed.
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, private_mode);
    if (file < 0) {
        return errno != EEXIST;
    }
    ::close(file);
    return true;
}

}  // namespace ckptfs::share
