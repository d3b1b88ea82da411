// Permissions, identities and messages that all nodes need.
#include "fs/mount_tree.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "util/log.h"

namespace ckptfs {
namespace {

constexpr std::size_t max_reported = 1024;

// What a user without the right, or with a wrong name, is answered: nothing is broken, and anybody could fill the log.
bool is_everyday(int reason) {
    constexpr std::array<int, 5> everyday{EACCES, EPERM, ENAMETOOLONG, ENOTDIR, ELOOP};
    return std::find(everyday.begin(), everyday.end(), reason) != everyday.end();
}

Errno failure_of(const Error& error) {
    return {errno_of(error), std::make_shared<const Error>(error)};
}

}  // namespace

Errno answer(const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::stale) {
        log::error(error.message());
    }
    return failure_of(error);
}

Errno answer_of_source(const Error& error) {
    return is_everyday(error.system_errno()) ? failure_of(error) : answer(error);
}

MountTree::MountTree(std::shared_ptr<SourceTree> tree, bool has_request, std::string source_name)
    : tree_(std::move(tree)), has_request_(has_request), source_name_(std::move(source_name)) {}

IdentityHasher MountTree::identity_of(const ViewRequest& request, std::string_view place) const {
    IdentityHasher hasher;
    if (has_request_) {
        hasher.add(0);
    } else {
        hasher.add(request.name());
    }
    hasher.add(place);
    return hasher;
}

bool MountTree::is_still_in_place(const std::string& path) const {
    if (!tree_->allows_others()) {
        return true;
    }
    const auto real = source().resolve(path);
    return real.ok() && *real == path;
}

Result<FileInfo> MountTree::as_granted(const std::string& path, FileInfo info) const {
    CKPTFS_ASSIGN(info.mode, source().granted_mode(path, info));
    return info;
}

Result<FileInfo> MountTree::as_reached(const std::string& path, const FileInfo& info) const {
    CKPTFS_ASSIGN(const FileInfo granted, as_granted(path, info));
    CKPTFS_ASSIGN(const auto passages, tree_->passages_to(path));
    return restricted(granted, passages);
}

Result<std::vector<Permissions>> MountTree::passages_to(const ShownRoot& root) const {
    return root.lone_file.empty() ? std::vector<Permissions>() : tree_->passages_to(root.lone_file);
}

void MountTree::report_link_once(const std::string& path, const std::string& reason) {
    {
        const std::lock_guard lock(reported_mutex_);
        if (reported_links_.size() >= max_reported || !reported_links_.insert(path).second) {
            return;
        }
    }
    log::warn("a symbolic link is not followed: " + reason);
}

}  // namespace ckptfs
