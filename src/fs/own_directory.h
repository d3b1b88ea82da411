// The directory in which a mount says how it fares.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "fs/mount_state.h"
#include "fs/mount_tree.h"
#include "io/caller.h"
#include "util/own_names.h"

namespace ckptfs {

/// 16 hexadecimal digits, of TagGeneration::signature().
[[nodiscard]] std::string text_of_generation(std::uint64_t signature);

[[nodiscard]] std::vector<std::byte> to_bytes(std::string_view text);

/// Safe for concurrent use.
class OwnDirectory {
 public:
    /// `state`: of now, as often as a text is made.
    OwnDirectory(MountTree& mount, OwnFiles files, std::function<FileSystemState()> state);

    /// Counts a lookup.
    [[nodiscard]] LookedUpEntry entry();
    /// An extended attribute of the mount's root; nullopt where it is none of a file here.
    [[nodiscard]] std::optional<Outcome<std::vector<std::byte>>> attribute(std::string_view name, const Caller& caller);

    /// For the nodes.
    [[nodiscard]] const OwnFiles& files() const { return files_; }
    [[nodiscard]] MountTree& mount() const { return mount_; }
    [[nodiscard]] std::string text_of(const OwnFile& file) const { return file.text(state_()); }
    [[nodiscard]] Attributes attributes_of(const OwnFile* file, std::uint64_t inode) const;

 private:
    MountTree& mount_;
    const OwnFiles files_;
    std::function<FileSystemState()> state_;
};

}  // namespace ckptfs
