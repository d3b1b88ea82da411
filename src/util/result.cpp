// The mapping from errors to errno.
#include "ckptfs/result.h"

namespace ckptfs {

namespace {

/// What a source's error would mean to the mount's reader or to its kernel, rather than that the source failed.
bool means_something_else(int failure) {
    switch (failure) {
        case EAGAIN:  // "try again later" of a descriptor that does not wait; Python ends the file there
        case EINTR:
        case ENOSYS:    // the kernel never asks again
        case ENOTCONN:  // the mount's own daemon is gone
        case ECONNABORTED:
        case ESHUTDOWN:
            return true;
        default:
            return false;
    }
}

}  // namespace

int errno_of(const Error& error) {
    switch (error.code()) {
        case ErrorCode::not_found:
            return ENOENT;
        case ErrorCode::stale:
            return ESTALE;
        case ErrorCode::io:
            return error.system_errno() == 0 || means_something_else(error.system_errno()) ? EIO : error.system_errno();
        default:
            return EIO;
    }
}

}  // namespace ckptfs
