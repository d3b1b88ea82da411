// An entry of SOURCE in a mount that can be written.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fs/node.h"
#include "fs/writable_mount.h"

namespace ckptfs {

/// One file, directory or symbolic link, by device and inode, as long as the kernel knows it. Everything is asked of
/// SOURCE, under the names that it was found by last, in directories that may move themselves; where it has none of
/// them any more, ESTALE makes the kernel look its own up again.
class WritableNode : public Node {
 public:
    WritableNode(WritableMount& mount, const EntryPlace& place, const FileInfo& info);

    struct Found {
        EntryPlace place;
        FileInfo info;  ///< as of now
    };
    /// ESTALE: it is not where it was found.
    [[nodiscard]] virtual Outcome<Found> locate();
    /// Where it was found last. ESTALE: below itself, by what others have renamed between two lookups.
    [[nodiscard]] Outcome<std::string> path() const;
    /// It is there now.
    void found_at(const EntryPlace& place);
    /// It is nowhere any more, whatever comes to be where it was.
    void leave() { is_gone_ = true; }
    [[nodiscard]] WritableTags::Key key() const { return {device_, source_inode_}; }
    [[nodiscard]] Identity identity() const { return writable_identity(type_, key()); }

    Outcome<FileAttributes> attributes(std::uint64_t inode) override;
    Outcome<FileAttributes> change(std::uint64_t inode, const SourceHandle* handle, const AttributeChange& change,
                                   const Caller& caller) override;
    Outcome<std::vector<std::byte>> attribute(const std::string& name, const Caller& caller) override;
    Outcome<std::vector<std::string>> attribute_names(const Caller& caller) override;
    Outcome<Done> set_attribute(const std::string& name, std::span<const std::byte> value, int flags,
                                const Caller& caller) override;
    Outcome<Done> remove_attribute(const std::string& name, const Caller& caller) override;

 protected:
    /// SOURCE itself, whatever directory that is.
    explicit WritableNode(WritableMount& mount);

    [[nodiscard]] WritableMount& mount() const { return mount_; }
    [[nodiscard]] bool is_same(const FileInfo& info) const;
    /// Handles of it that are open, for when it has no name any more.
    [[nodiscard]] virtual std::vector<std::shared_ptr<const SourceHandle>> handles() { return {}; }

 private:
    struct Name {
        std::shared_ptr<WritableDirectory> directory;
        std::uint64_t directory_inode;
        std::string name;
    };
    [[nodiscard]] static Outcome<EntryPlace> place_of(const Name& name);
    /// nullopt: of SOURCE itself.
    [[nodiscard]] std::optional<Name> last_name() const;
    [[nodiscard]] Outcome<FileInfo> info_now();

    WritableMount& mount_;
    const std::uint64_t device_;
    const std::uint64_t source_inode_;
    const FileType type_;
    std::atomic<bool> is_gone_ = false;

    mutable std::mutex mutex_;
    std::vector<Name> names_;  // the last one found first; none of SOURCE itself
};

}  // namespace ckptfs
