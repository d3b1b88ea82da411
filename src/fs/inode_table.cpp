// Lookup counting and collision handling.
#include "fs/inode_table.h"

#include <mutex>
#include <utility>

#include "fs/file_system.h"

namespace ckptfs {
namespace {

bool reserved(std::uint64_t inode) {
    return inode <= root_inode || inode == unknown_inode;
}

}  // namespace

std::uint64_t preferred_inode(const Identity& identity) {
    return reserved(identity.inode) ? identity.inode + 2 : identity.inode;
}

std::uint64_t InodeTable::remember(const Identity& identity, std::shared_ptr<Node> node) {
    const std::lock_guard lock(mutex_);
    auto inode = preferred_inode(identity);
    auto slot = slots_.find(inode);
    while (reserved(inode) || (slot != slots_.end() && slot->second.check != identity.check)) {
        slot = slots_.find(++inode);
    }
    if (slot == slots_.end()) {
        slot = slots_.emplace(inode, Slot{identity.check, 0, std::move(node)}).first;
    }
    ++slot->second.lookups;
    return inode;
}

std::shared_ptr<Node> InodeTable::find(std::uint64_t inode) const {
    const std::shared_lock lock(mutex_);
    const auto slot = slots_.find(inode);
    return slot == slots_.end() ? nullptr : slot->second.node;
}

std::shared_ptr<Node> InodeTable::find(const Identity& identity) const {
    const std::shared_lock lock(mutex_);
    auto inode = preferred_inode(identity);
    while (true) {
        const auto slot = slots_.find(inode);
        if (slot == slots_.end() && !reserved(inode)) {
            return nullptr;
        }
        if (slot != slots_.end() && slot->second.check == identity.check) {
            return slot->second.node;
        }
        ++inode;
    }
}

void InodeTable::forget(std::uint64_t inode, std::uint64_t lookups) {
    std::shared_ptr<Node> released;  // destroyed after the lock: the last reference to a tag frees much
    const std::lock_guard lock(mutex_);
    const auto slot = slots_.find(inode);
    if (slot == slots_.end()) {
        return;
    }
    if (slot->second.lookups > lookups) {
        slot->second.lookups -= lookups;
        return;
    }
    released = std::move(slot->second.node);
    slots_.erase(slot);
}

std::size_t InodeTable::size() const {
    const std::shared_lock lock(mutex_);
    return slots_.size();
}

}  // namespace ckptfs
