// flock(2) with its errors as sentences.
#include "share/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "util/text.h"

namespace ckptfs::share {
namespace {

Result<io::UniqueFd> open_path(const std::string& path, int flags) {
    io::UniqueFd descriptor(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!descriptor.valid()) {
        const int reason = errno;
        return Error(reason == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                     in_quotes(path) + " cannot be opened: " + std::generic_category().message(reason), reason);
    }
    return descriptor;
}

int operation_of(FileLock::Kind kind) {
    return kind == FileLock::Kind::shared ? LOCK_SH : LOCK_EX;
}

int flock_uninterrupted(int descriptor, int operation) {
    int outcome = 0;
    do {
        outcome = ::flock(descriptor, operation);
    } while (outcome != 0 && errno == EINTR);
    return outcome;
}

}  // namespace

Result<FileLock> FileLock::of_file(const std::string& path) {
    CKPTFS_ASSIGN(auto descriptor, open_path(path, O_RDWR | O_CREAT));
    return FileLock(std::move(descriptor), path);
}

Result<FileLock> FileLock::of_directory(const std::string& path) {
    CKPTFS_ASSIGN(auto descriptor, open_path(path, O_RDONLY | O_DIRECTORY));
    return FileLock(std::move(descriptor), path);
}

Result<bool> FileLock::lock_unless_interrupted(Kind kind) {
    if (::flock(descriptor_.get(), operation_of(kind)) == 0) {
        return true;
    }
    const int reason = errno;
    return reason == EINTR ? Result<bool>(false) : failure(reason);
}

Result<bool> FileLock::try_lock(Kind kind) {
    if (flock_uninterrupted(descriptor_.get(), operation_of(kind) | LOCK_NB) == 0) {
        return true;
    }
    const int reason = errno;
    return reason == EWOULDBLOCK ? Result<bool>(false) : failure(reason);
}

void FileLock::unlock() {
    ::flock(descriptor_.get(), LOCK_UN);
}

Result<void> FileLock::write(const std::string& text) {
    const bool is_written =
        ::ftruncate(descriptor_.get(), 0) == 0 &&
        ::pwrite(descriptor_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
    if (!is_written) {
        const int reason = errno;
        return Error(ErrorCode::io, in_quotes(path_) + " cannot be written: " + std::generic_category().message(reason),
                     reason);
    }
    return {};
}

bool FileLock::is_removed() const {
    struct stat found {};
    return ::fstat(descriptor_.get(), &found) != 0 || found.st_nlink == 0;
}

Error FileLock::failure(int reason) const {
    return {ErrorCode::io,
            in_quotes(path_) + " cannot be locked: " + std::generic_category().message(reason) +
                "; set TMPDIR to a directory of this machine",
            reason};
}

}  // namespace ckptfs::share
