// The lowest free number is what open() gives.
#include "util/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

namespace ckptfs {

void occupy_standard_streams() {
    int descriptor = -1;
    do {
        descriptor = ::open("/dev/null", O_RDWR);  // programs that are started inherit it like any standard stream
        if (descriptor == STDOUT_FILENO) {
            ::close(descriptor);
            descriptor = ::open("/dev/null", O_RDONLY);
        }
    } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0) {
        ::close(descriptor);
    }
}

}  // namespace ckptfs
