// Which files a whole tag was made of, so that a later save that has replaced only some of them is noticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "ckptfs/view.h"

namespace ckptfs {

/// 16 bytes a file. Immutable.
class SavedFiles {
 public:
    /// Of a whole tag.
    explicit SavedFiles(const Tag& tag);

    /// Why `tag` cannot be one save where it has files of this save and others besides. A file of the same name, size
    /// and mtime is this save's: a save sets the mtime, while a copy that keeps it, a link, and file systems that
    /// forget inode numbers put another inode or ctime under the same bytes. nullopt: there is no reason to doubt it.
    [[nodiscard]] std::optional<Error> partly_replaced_in(const Tag& tag) const;

 private:
    struct Entry {
        std::uint64_t name = 0;  ///< hashes
        std::uint64_t content = 0;

        bool operator==(const Entry&) const = default;
        bool operator<(const Entry& other) const {
            return std::tie(name, content) < std::tie(other.name, other.content);
        }
    };
    static Entry entry_of(const Tag& tag, std::size_t index);

    std::vector<Entry> entries_;  // sorted
};

}  // namespace ckptfs
