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

std::pair<const std::uint64_t, InodeTable::Slot>& InodeTable::looked_up(const Identity& identity) {
    const auto [known, is_new] = numbers_.try_emplace(identity, preferred_inode(identity));
    if (is_new) {
        while (reserved(known->second) || slots_.contains(known->second)) {
            ++known->second;
        }
        slots_.emplace(known->second, Slot{identity, 0, nullptr, ++given_});
    }
    auto& slot = *slots_.find(known->second);
    ++slot.second.lookups;
    return slot;
}

std::uint64_t InodeTable::remember(const Identity& identity, std::shared_ptr<Node> node) {
    const std::lock_guard lock(mutex_);
    auto& [inode, slot] = looked_up(identity);
    if (!slot.node) {
        slot.node = std::move(node);
    }
    return inode;
}

std::uint64_t InodeTable::renew(const Identity& identity, std::shared_ptr<Node> node) {
    const std::lock_guard lock(mutex_);
    auto& [inode, slot] = looked_up(identity);
    slot.node.swap(node);  // the old one goes when the lock is gone
    return inode;
}

std::shared_ptr<Node> InodeTable::find(std::uint64_t inode) const {
    const std::shared_lock lock(mutex_);
    const auto slot = slots_.find(inode);
    return slot == slots_.end() ? nullptr : slot->second.node;
}

std::shared_ptr<Node> InodeTable::find(const Identity& identity) const {
    const std::shared_lock lock(mutex_);
    const auto known = numbers_.find(identity);
    return known == numbers_.end() ? nullptr : slots_.at(known->second).node;
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
    if (const auto known = numbers_.find(slot->second.identity); known != numbers_.end() && known->second == inode) {
        numbers_.erase(known);
    }
    released = std::move(slot->second.node);
    slots_.erase(slot);
}

void InodeTable::retire(const Identity& identity, const Node& node) {
    const std::lock_guard lock(mutex_);
    const auto known = numbers_.find(identity);
    if (known != numbers_.end() && slots_.at(known->second).node.get() == &node) {
        numbers_.erase(known);
    }
}

std::uint64_t InodeTable::numbers_given() const {
    const std::shared_lock lock(mutex_);
    return given_;
}

std::shared_ptr<Node> InodeTable::retire_former(const Identity& identity, std::uint64_t given) {
    const std::lock_guard lock(mutex_);
    const auto known = numbers_.find(identity);
    if (known == numbers_.end()) {
        return nullptr;
    }
    const Slot& slot = slots_.at(known->second);
    if (slot.serial > given) {
        return nullptr;
    }
    numbers_.erase(known);
    return slot.node;
}

void InodeTable::clear() {
    std::unordered_map<std::uint64_t, Slot> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    released.swap(slots_);
    numbers_.clear();
}

std::size_t InodeTable::size() const {
    const std::shared_lock lock(mutex_);
    return slots_.size();
}

}  // namespace ckptfs
