// flock(2): a lock that the kernel lets go of when the last process that holds its descriptor is gone, however it
// ended.
#pragma once

#include <string>

#include "ckptfs/result.h"
#include "io/unique_fd.h"

namespace ckptfs::share {

class FileLock {
 public:
    enum class Kind : unsigned char { shared, exclusive };

    /// Opens the file, or makes it. `not_found` where its directory is gone.
    static Result<FileLock> of_file(const std::string& path);
    /// A lock on the directory itself. `not_found` where it is gone.
    static Result<FileLock> of_directory(const std::string& path);

    /// Waits for as long as another lock is in the way. False when a signal handler ran meanwhile.
    Result<bool> lock_unless_interrupted(Kind kind);
    /// False where another lock is in the way.
    Result<bool> try_lock(Kind kind);
    /// For every process that holds the descriptor.
    void unlock();

    /// In place of what the file holds.
    Result<void> write(const std::string& text);

    /// Whether the file has been unlinked since: a lock on it then keeps nobody away.
    [[nodiscard]] bool is_removed() const;
    [[nodiscard]] int descriptor() const { return descriptor_.get(); }

 private:
    FileLock(io::UniqueFd descriptor, std::string path) : descriptor_(std::move(descriptor)), path_(std::move(path)) {}
    [[nodiscard]] Error failure(int reason) const;

    io::UniqueFd descriptor_;
    std::string path_;
};

}  // namespace ckptfs::share
