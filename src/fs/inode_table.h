// The inodes that the kernel refers to, each until it has forgotten every lookup.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "fs/identity.h"
#include "fs/node.h"

namespace ckptfs {

/// Safe for concurrent use.
class InodeTable {
 public:
    /// Counts one lookup of `identity`. A node that is there already stays; `node` is for a new one.
    /// Returns its inode number: that of the identity, or the next free one where another has it.
    std::uint64_t remember(const Identity& identity, std::shared_ptr<Node> node);
    /// The same, but `node` takes the place of the one that is there.
    std::uint64_t renew(const Identity& identity, std::shared_ptr<Node> node);
    /// nullptr where there is none.
    [[nodiscard]] std::shared_ptr<Node> find(std::uint64_t inode) const;
    [[nodiscard]] std::shared_ptr<Node> find(const Identity& identity) const;
    void forget(std::uint64_t inode, std::uint64_t lookups);
    /// What `node` stands for is gone, and file systems give its identity to what they make next: that gets a number
    /// of its own, while the one of `node` leads to it until it is forgotten. No-op where another has the identity.
    void retire(const Identity& identity, const Node& node);
    /// Grows with each number that is given.
    [[nodiscard]] std::uint64_t numbers_given() const;
    /// The same for what has just been made, where numbers_given() was `given` before: what has been given a number
    /// since has been found there by others. (Who found it under the former's number has to look again.) Returns the
    /// node that is retired, or nullptr.
    std::shared_ptr<Node> retire_former(const Identity& identity, std::uint64_t given);
    /// As if all were forgotten: when nobody asks any more.
    void clear();
    [[nodiscard]] std::size_t size() const;

 private:
    struct Slot {
        Identity identity;
        std::uint64_t lookups = 0;
        std::shared_ptr<Node> node;
        std::uint64_t serial = 0;  ///< numbers_given() with this one
    };

    struct Hash {
        std::size_t operator()(const Identity& identity) const { return identity.inode; }
    };

    /// What `identity` has, with one lookup more; without a node where it is new. The lock is held.
    std::pair<const std::uint64_t, Slot>& looked_up(const Identity& identity);

    mutable std::shared_mutex mutex_;
    std::unordered_map<std::uint64_t, Slot> slots_;
    std::uint64_t given_ = 0;
    std::unordered_map<Identity, std::uint64_t, Hash> numbers_;  // of all that are not retired
};

/// The inode number that `identity` has unless it collides: what a directory listing may show.
std::uint64_t preferred_inode(const Identity& identity);

}  // namespace ckptfs
