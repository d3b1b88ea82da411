// System calls below one descriptor, in which the kernel follows no link.
#include "io/directory_state.h"

#include <fcntl.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "io/directory_writer.h"
#include "io/link_walk.h"
#include "util/path.h"

namespace ckptfs::io {

Error failed_to(const std::string& action, const std::string& name, int failure) {
    const std::string sentence = "'" + name + "' cannot be " + action + ": " + std::generic_category().message(failure);
    if (failure == ENOENT || failure == ENOTDIR) {
        return {ErrorCode::not_found, sentence, failure};
    }
    return {ErrorCode::io, sentence, failure};
}

DirectoryState::DirectoryState(std::shared_ptr<const SystemCalls> calls, std::shared_ptr<RootDirectory> root,
                               std::size_t pool_capacity)
    : calls_(std::move(calls)), root_(std::move(root)), pool_(std::make_shared<DescriptorPool>(pool_capacity)) {}

std::shared_ptr<const SourceWriter> DirectoryState::writer() const {
    return directory_writer(calls_, root_, pool_);
}

std::string DirectoryState::display(std::string_view path) const {
    const std::string& root = root_->path();
    if (path.empty()) {
        return root;
    }
    if (path.starts_with('/')) {
        return std::string(path);
    }
    return root + (root.ends_with('/') ? "" : "/") + std::string(path);
}

Result<const char*> DirectoryState::below_root(const std::string& path) const {
    if (leaves_root(path)) {
        return Error(ErrorCode::invalid_argument,
                     "'" + path + "' does not name anything below '" + root_->path() + "'");
    }
    return path.empty() ? "." : path.c_str();
}

Result<struct stat> DirectoryState::status(const SharedFd& root, const std::string& path) const {
    CKPTFS_ASSIGN(const char* const name, below_root(path));
    struct stat status {};
    const int answer = calls().stat_at(root->get(), name, status, AT_SYMLINK_NOFOLLOW);
    if (answer < 0) {
        return failed_to("looked up", display(path), -answer);
    }
    return status;
}

Result<struct stat> DirectoryState::target_status(const SharedFd& root, const std::string& path,
                                                  std::string& real) const {
    real = path;
    CKPTFS_ASSIGN(struct stat found, status(root, real));
    if (S_ISLNK(found.st_mode)) {
        CKPTFS_ASSIGN(real, follow(root, path));
        CKPTFS_ASSIGN(found, status(root, real));
    }
    if (S_ISLNK(found.st_mode)) {
        return Error(ErrorCode::stale, "'" + display(path) + "' has changed while it was looked up: try again");
    }
    return found;
}

bool DirectoryState::inodes_may_change(const SharedFd& root, dev_t device) const {
    const std::lock_guard lock(mutex_);
    if (devices_of_ != root) {  // what was there may be mounted no more, and its number another's
        devices_.clear();
        devices_of_ = root;
    }
    const auto known = devices_.find(device);
    return known != devices_.end() ? known->second : devices_.emplace(device, calls().is_fuse(device)).first->second;
}

Result<std::string> DirectoryState::follow(const SharedFd& root, const std::string& path) const {
    CKPTFS_TRY(below_root(path));
    auto target = follow_links(calls(), root->get(), path);
    if (!target) {
        return target.error().within("'" + display(path) + "'");
    }
    return target;
}

Result<UniqueFd> DirectoryState::open(const SharedFd& root, const std::string& path, int flags,
                                      const std::string& action) const {
    CKPTFS_ASSIGN(const char* const name, below_root(path));
    int fd = open_real(root->get(), name, flags);
    if (fd == -ELOOP) {
        CKPTFS_ASSIGN(const std::string real, follow(root, path));
        fd = open_real(root->get(), real.empty() ? "." : real.c_str(), flags);
    }
    if (fd < 0) {
        return failed_to(action, display(path), -fd);
    }
    return UniqueFd(fd);
}

int DirectoryState::open_real(int root, const char* name, int flags) const {
    int fd = calls().open_real_at(root, name, flags | O_RDONLY | O_NONBLOCK);
    if (fd == -EMFILE || fd == -ENFILE) {
        pool_->clear();
        fd = calls().open_real_at(root, name, flags | O_RDONLY | O_NONBLOCK);
    }
    for (int pauses = 0; fd == -EAGAIN && pauses < most_pauses; ++pauses) {
        calls().pause();
        fd = calls().open_real_at(root, name, flags | O_RDONLY | O_NONBLOCK);
    }
    return fd;
}

}  // namespace ckptfs::io
