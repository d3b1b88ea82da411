// The inodes that the kernel refers to, each until it has forgotten every lookup.
#pragma once

#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <unordered_map>

#include "fs/identity.h"
#include "fs/node.h"

namespace ckptfs {

/// Safe for concurrent use.
class InodeTable {
 public:
    /// Counts one lookup of `identity`. A node that is there already stays; `node` is for a new one.
    /// Returns its inode number: that of the identity, or the next free one where another identity has it.
    std::uint64_t remember(const Identity& identity, std::shared_ptr<Node> node);
    /// nullptr where there is none.
    [[nodiscard]] std::shared_ptr<Node> find(std::uint64_t inode) const;
    [[nodiscard]] std::shared_ptr<Node> find(const Identity& identity) const;
    void forget(std::uint64_t inode, std::uint64_t lookups);
    [[nodiscard]] std::size_t size() const;

 private:
    struct Slot {
        std::uint64_t check = 0;
        std::uint64_t lookups = 0;
        std::shared_ptr<Node> node;
    };

    mutable std::shared_mutex mutex_;
    std::unordered_map<std::uint64_t, Slot> slots_;
};

/// The inode number that `identity` has unless it collides: what a directory listing may show.
std::uint64_t preferred_inode(const Identity& identity);

}  // namespace ckptfs
