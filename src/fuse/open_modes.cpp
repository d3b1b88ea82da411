// The table of open inodes.
#include "fuse/open_modes.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <string>
#include <system_error>

#include "util/log.h"

namespace ckptfs {
namespace {

/// No right to it, no such call, or a stacked file system, which the rest of SOURCE lies on too. Anything else is about
/// the one file.
bool is_for_good(int refusal) {
    constexpr std::array reasons{EPERM, ENOTTY, EOPNOTSUPP, EINVAL, ELOOP};
    return std::find(reasons.begin(), reasons.end(), refusal) != reasons.end();
}

}  // namespace

Outcome<OpenModes::Opening> OpenModes::enter(std::uint64_t inode, int descriptor, const Caller& caller) noexcept {
    try {
        struct stat found {};
        const bool is_sources = descriptor >= 0 && ::fstat(descriptor, &found) == 0;  // may ask a server: not locked
        // The kernel is asked under the lock: who opens the same inode meanwhile needs the answer.
        const std::lock_guard lock(mutex_);
        const auto [entry, is_first] = inodes_.try_emplace(inode);
        if (!is_first) {
            return join(entry->second, is_sources ? &found : nullptr);
        }
        try {
            entry->second = is_sources ? begin(descriptor, found, caller) : OpenInode{.users = 1};
        } catch (...) {
            inodes_.erase(entry);
            throw;
        }
        return Opening{entry->second.backing};
    } catch (const std::exception&) {
        return Errno{ENOMEM};
    }
}

Outcome<OpenModes::Opening> OpenModes::join(OpenInode& open, const struct stat* found) {
    // The kernel would show the file that it has. The name is to be looked up again.
    if (open.backing != 0 && (found == nullptr || found->st_dev != open.device || found->st_ino != open.number)) {
        return Errno{ESTALE};
    }
    ++open.users;
    passed_through_ += open.backing != 0 ? 1 : 0;
    return Opening{open.backing};
}

OpenModes::OpenInode OpenModes::begin(int descriptor, const struct stat& found, const Caller& caller) {
    OpenInode open{.users = 1};
    // Writing clears these bits, unless it is root's; and on whose behalf the kernel writes, whoever joins shares.
    if (refused_ || (found.st_mode & (S_ISUID | S_ISGID)) != 0) {
        return open;
    }
    const auto backing = backing_files_.open(descriptor, caller);
    if (!backing.ok()) {
        refused_ = is_for_good(backing.error);
        if (refused_) {
            log::info("the kernel does not read and write files by itself here (" +
                      std::generic_category().message(backing.error) + "): all bytes go through this process");
        }
        return open;
    }
    ++passed_through_;
    open.backing = backing.value;
    open.device = found.st_dev;
    open.number = found.st_ino;
    return open;
}

void OpenModes::leave(std::uint64_t inode) noexcept {
    const std::lock_guard lock(mutex_);
    const auto entry = inodes_.find(inode);
    if (entry == inodes_.end() || --entry->second.users > 0) {
        return;
    }
    if (entry->second.backing != 0) {
        backing_files_.close(entry->second.backing);
    }
    inodes_.erase(entry);
}

}  // namespace ckptfs
