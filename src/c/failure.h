// How the functions of the C interface fail.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "ckptfs/ckptfs.h"
#include "ckptfs/result.h"

namespace ckptfs::c {

static_assert(static_cast<int>(ErrorCode::invalid_argument) == CKPTFS_INVALID_ARGUMENT &&
              static_cast<int>(ErrorCode::not_a_checkpoint) == CKPTFS_NOT_A_CHECKPOINT &&
              static_cast<int>(ErrorCode::incomplete) == CKPTFS_INCOMPLETE &&
              static_cast<int>(ErrorCode::damaged) == CKPTFS_DAMAGED &&
              static_cast<int>(ErrorCode::inconsistent) == CKPTFS_INCONSISTENT &&
              static_cast<int>(ErrorCode::unsupported) == CKPTFS_UNSUPPORTED &&
              static_cast<int>(ErrorCode::stale) == CKPTFS_STALE &&
              static_cast<int>(ErrorCode::not_found) == CKPTFS_NOT_FOUND &&
              static_cast<int>(ErrorCode::io) == CKPTFS_IO && static_cast<int>(ErrorCode::mount) == CKPTFS_MOUNT &&
              static_cast<int>(ErrorCode::verification) == CKPTFS_VERIFICATION &&
              static_cast<int>(ErrorCode::internal) == CKPTFS_INTERNAL);

/// `failure` may be nullptr.
inline void fill(ckptfs_failure* failure, const Error& error) noexcept {
    if (failure == nullptr) {
        return;
    }
    failure->code = static_cast<int>(error.code());
    failure->system_errno = error.code() == ErrorCode::invalid_argument                  ? EINVAL
                            : error.code() != ErrorCode::io && error.system_errno() != 0 ? error.system_errno()
                                                                                         : errno_of(error);
    failure->message = ::strdup(error.message().c_str());
}

/// What a function of the interface does. Nothing that is thrown gets past.
template <class Body>
int guarded(ckptfs_failure* failure, Body&& body) noexcept {
    try {
        try {
            const Result<void> done = std::forward<Body>(body)();
            if (done) {
                return 0;
            }
            fill(failure, done.error());
        } catch (const std::bad_alloc&) {
            fill(failure, Error(ErrorCode::io, "no memory is left", ENOMEM));
        } catch (const std::exception& thrown) {
            fill(failure, Error(ErrorCode::internal, std::string("a bug, please report it: ") + thrown.what()));
        }
    } catch (const std::exception&) {  // not even memory for the sentence
        if (failure != nullptr) {
            *failure = {CKPTFS_IO, ENOMEM, nullptr};
        }
    }
    return -1;
}

}  // namespace ckptfs::c
