// Errors as the errno that a file system answers with.
#include "ckptfs/result.h"

#include <gtest/gtest.h>

namespace ckptfs {
namespace {

TEST(ErrnoOf, SaysWhatTheCallerCanDo) {
    EXPECT_EQ(errno_of(Error(ErrorCode::not_found, "")), ENOENT);
    EXPECT_EQ(errno_of(Error(ErrorCode::stale, "")), ESTALE);
    EXPECT_EQ(errno_of(Error(ErrorCode::damaged, "")), EIO);
    EXPECT_EQ(errno_of(Error(ErrorCode::io, "")), EIO);
}

TEST(ErrnoOf, KeepsTheSystemsOwn) {
    for (const int failure : {EACCES, ENOMEM, EMFILE, ENAMETOOLONG, ETIMEDOUT, ESTALE}) {
        EXPECT_EQ(errno_of(Error(ErrorCode::io, "", failure)), failure);
    }
}

TEST(ErrnoOf, NeverSaysWhatItsReaderOrTheKernelTakesForSomethingElse) {
    for (const int failure : {EAGAIN, EWOULDBLOCK, EINTR, ENOSYS, ENOTCONN, ECONNABORTED, ESHUTDOWN}) {
        EXPECT_EQ(errno_of(Error(ErrorCode::io, "", failure)), EIO) << failure;
    }
}

}  // namespace
}  // namespace ckptfs
