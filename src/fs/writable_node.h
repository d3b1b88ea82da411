// An entry of SOURCE in a mount that can be written.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fs/node.h"
#include "fs/path_move.h"
#include "fs/writable_mount.h"

namespace ckptfs {

/// One file, directory or symbolic link, by device and inode, as long as the kernel knows it. Everything is asked of
/// SOURCE, under the names that it was found by last; where it has none of them any more, ESTALE makes the kernel look
/// its own up again.
class WritableNode : public Node {
 public:
    WritableNode(WritableMount& mount, std::string path, const FileInfo& info);

    struct Place {
        std::string path;
        FileInfo info;  ///< as of now
    };
    /// ESTALE: none of the paths leads to it.
    [[nodiscard]] virtual Outcome<Place> locate();

    Outcome<FileAttributes> attributes(std::uint64_t inode) override;
    Outcome<FileAttributes> change(std::uint64_t inode, const SourceHandle* handle, const AttributeChange& change,
                                   const Caller& caller) override;
    Outcome<std::vector<std::byte>> attribute(const std::string& name, const Caller& caller) override;
    Outcome<std::vector<std::string>> attribute_names(const Caller& caller) override;
    Outcome<Done> set_attribute(const std::string& name, std::span<const std::byte> value, int flags,
                                const Caller& caller) override;
    Outcome<Done> remove_attribute(const std::string& name, const Caller& caller) override;

    void found_at(const std::string& path, std::uint64_t parent) override;
    void follow(const PathMove& move) override;

 protected:
    [[nodiscard]] WritableMount& mount() const { return mount_; }
    [[nodiscard]] bool is_same(const FileInfo& info) const;
    [[nodiscard]] std::string last_path() const;
    /// Handles of it that are open, for when it has no name any more.
    [[nodiscard]] virtual std::vector<std::shared_ptr<const SourceHandle>> handles() { return {}; }

 private:
    [[nodiscard]] Outcome<FileInfo> info_now();

    WritableMount& mount_;
    const std::uint64_t device_;
    const std::uint64_t source_inode_;
    const FileType type_;

    mutable std::mutex mutex_;
    std::vector<std::string> paths_;  // the last one found first
};

}  // namespace ckptfs
