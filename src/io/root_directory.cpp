// Compares what the path names with the directory that is held.
#include "io/root_directory.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "util/log.h"

namespace ckptfs::io {
namespace {

/// Anything else, such as a server that does not answer, says nothing about the directory.
bool names_no_directory(int answer) {
    constexpr std::array reasons{-ENOENT, -ENOTDIR, -ELOOP, -EACCES, -ENAMETOOLONG};
    return std::find(reasons.begin(), reasons.end(), answer) != reasons.end();
}

}  // namespace

Result<std::unique_ptr<RootDirectory>> RootDirectory::open(std::string path, std::shared_ptr<const SystemCalls> calls,
                                                           RootIs root_is) {
    UniqueFd base;
    if (!path.starts_with('/')) {
        base = UniqueFd(calls->open_at(AT_FDCWD, ".", O_PATH | O_DIRECTORY));
    }
    const int from = base.valid() ? base.get() : AT_FDCWD;
    UniqueFd root(calls->open_at(from, path.c_str(), O_PATH | O_DIRECTORY));
    if (!root.valid()) {
        const int failure = -root.get();
        return Error(names_no_directory(root.get()) ? ErrorCode::not_found : ErrorCode::io,
                     "'" + path + "' cannot be opened as a directory: " + std::generic_category().message(failure),
                     failure);
    }
    return std::unique_ptr<RootDirectory>(
        new RootDirectory(std::move(path), std::move(calls), std::move(base), std::move(root), root_is));
}

RootDirectory::RootDirectory(std::string path, std::shared_ptr<const SystemCalls> calls, UniqueFd base, UniqueFd root,
                             RootIs root_is)
    : path_(std::move(path)),
      calls_(std::move(calls)),
      root_is_(root_is),
      base_(std::move(base)),
      root_(std::make_shared<const UniqueFd>(std::move(root))) {}

Result<SharedFd> RootDirectory::descriptor() const {
    const std::lock_guard lock(mutex_);
    if (gone_) {
        return Error(ErrorCode::stale,
                     "'" + path_ + "' is gone: there is no directory of that name; put it back, or unmount the view");
    }
    return root_;
}

void RootDirectory::refresh() {
    if (root_is_ == RootIs::held) {
        return;
    }
    const std::unique_lock refreshing(refreshing_, std::try_to_lock);
    if (!refreshing.owns_lock()) {
        return;
    }
    const int from = base_.valid() ? base_.get() : AT_FDCWD;
    struct stat named {};
    const int answer = calls_->stat_at(from, path_.c_str(), named, 0);
    if (names_no_directory(answer) || (answer >= 0 && !S_ISDIR(named.st_mode))) {
        set(nullptr);
        return;
    }
    struct stat held {};
    if (answer < 0 || calls_->stat_descriptor(root_->get(), held) < 0) {
        return;
    }
    if (named.st_dev == held.st_dev && named.st_ino == held.st_ino) {
        set(root_);
        return;
    }
    // As long as it is held, its number is not given to another directory.
    UniqueFd opened(calls_->open_at(from, path_.c_str(), O_PATH | O_DIRECTORY));
    if (opened.valid() && calls_->stat_descriptor(opened.get(), named) >= 0 && !calls_->is_view(named.st_dev)) {
        set(std::make_shared<const UniqueFd>(std::move(opened)));
    }
}

void RootDirectory::set(SharedFd root) {
    const std::lock_guard lock(mutex_);
    if (!root) {
        if (!gone_) {
            log::error("'" + path_ +
                       "' is gone: there is no directory of that name, and what is asked for below it "
                       "fails until there is one");
        }
        gone_ = true;
        return;
    }
    if (gone_ || root != root_) {
        log::warn("'" + path_ + "' " + (root == root_ ? "is there again" : "names another directory now") +
                  ": what it holds is shown from now on");
    }
    gone_ = false;
    root_ = std::move(root);
}

}  // namespace ckptfs::io
