// The mapping from errors to errno.
#include "ckptfs/result.h"

namespace ckptfs {

int errno_of(const Error& error) {
    switch (error.code()) {
        case ErrorCode::not_found:
            return ENOENT;
        case ErrorCode::stale:
            return ESTALE;
        case ErrorCode::io:
            return error.system_errno() != 0 ? error.system_errno() : EIO;
        default:
            return EIO;
    }
}

}  // namespace ckptfs
