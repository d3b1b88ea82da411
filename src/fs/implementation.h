// What is behind FileSystem: the same operations, free to throw what its boundary catches.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/file_system.h"
#include "fs/handle_table.h"
#include "fs/mount_tree.h"
#include "fs/node.h"
#include "fs/own_directory.h"
#include "fs/source_tree.h"
#include "fs/writable_mount.h"
#include "util/memory_budget.h"

namespace ckptfs {

class FileSystem::Implementation {
 public:
    Implementation(std::shared_ptr<SourceTree> tree, const FileSystemOptions& options);
    Implementation(const Implementation&) = delete;
    Implementation& operator=(const Implementation&) = delete;
    ~Implementation() { mount_.inodes().clear(); }  // nodes may refer to all that is here

    void adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag);

    Outcome<LookedUpEntry> lookup(std::uint64_t parent, std::string_view name);
    void forget(std::uint64_t inode, std::uint64_t lookups) { mount_.inodes().forget(inode, lookups); }
    Outcome<FileAttributes> getattr(std::uint64_t inode);
    Outcome<std::string> readlink(std::uint64_t inode);

    /// `caller`: nullptr for one who only reads.
    Outcome<OpenedFile> open(std::uint64_t inode, int flags, const Caller* caller);
    Outcome<std::shared_ptr<const File>> open_file(std::uint64_t inode);
    Outcome<std::size_t> read(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out);
    Outcome<ReadBytes> fetch(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out, PageTarget* target);
    void let_hand_over(std::uint64_t handle);
    [[nodiscard]] bool hands_over() const { return read_ahead_ != nullptr; }
    OpenDescriptor whole_file(std::uint64_t handle);
    void release(std::uint64_t handle) { files_.erase(handle); }

    Outcome<std::uint64_t> opendir(std::uint64_t inode);
    Outcome<bool> readdir(std::uint64_t handle, std::uint64_t offset,
                          const std::function<bool(const ListedEntry&)>& take);
    void releasedir(std::uint64_t handle) { directories_.erase(handle); }

    Outcome<SourceStatistics> statfs() const;

    Outcome<CreatedFile> create(std::uint64_t parent, std::string_view name, int flags, std::uint32_t mode,
                                const Caller& caller);
    Outcome<Done> rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                         std::string_view new_name, unsigned flags, const Caller& caller);
    Outcome<LookedUpEntry> link(std::uint64_t inode, std::uint64_t parent, std::string_view name, const Caller& caller);
    Outcome<FileAttributes> setattr(std::uint64_t inode, std::optional<std::uint64_t> handle,
                                    const AttributeChange& change, const Caller& caller);
    Outcome<std::size_t> write(std::uint64_t handle, std::optional<std::uint64_t> offset,
                               std::span<const std::byte> data, const Caller& caller);
    Outcome<Done> flush(std::uint64_t handle);
    Outcome<Done> fsync(std::uint64_t handle, bool data_only);
    Outcome<Done> fsyncdir(std::uint64_t handle, bool data_only);
    Outcome<Done> fallocate(std::uint64_t handle, int mode, std::uint64_t offset, std::uint64_t nbytes,
                            const Caller& caller);
    Outcome<std::uint64_t> lseek(std::uint64_t handle, std::uint64_t offset, int whence);
    Outcome<std::size_t> copy_file_range(std::uint64_t handle, std::uint64_t offset, std::uint64_t target_handle,
                                         std::uint64_t target_offset, std::size_t nbytes, const Caller& caller);

    /// What `operation` answers for the node of `inode`; ESTALE where there is none. With a name, that is checked.
    template <class Operation>
    auto on_node(std::uint64_t inode, Operation&& operation) -> decltype(operation(std::declval<Node&>())) {
        const auto node = node_of(inode);
        return node ? operation(*node) : Errno{ESTALE};
    }
    template <class Operation>
    auto on_node(std::uint64_t inode, std::string_view name, Operation&& operation)
        -> decltype(operation(std::declval<Node&>())) {
        return is_too_long(name) ? Errno{ENAMETOOLONG} : on_node(inode, std::forward<Operation>(operation));
    }
    Outcome<std::vector<std::byte>> getxattr(std::uint64_t inode, std::string_view name, const Caller& caller);
    void refresh();
    void tidy();
    [[nodiscard]] std::size_t live_inodes() const { return mount_.inodes().size(); }
    [[nodiscard]] FileSystemState state() const;

 private:
    struct OpenFile {
        OpenedBytes bytes;
        std::optional<Stream> stream;  // of `bytes.file`, where that is read ahead
        std::atomic<bool> reported = false;
        std::atomic<bool> may_be_handed_over = false;
    };
    struct OpenDirectory {
        std::uint64_t inode = 0;
        Listing listing;
    };

    [[nodiscard]] static bool is_too_long(std::string_view name);
    [[nodiscard]] OpenedFile insert(OpenedBytes bytes);
    /// SOURCE's own file behind a handle; nullptr: EBADF.
    [[nodiscard]] std::shared_ptr<const SourceHandle> source_handle(std::uint64_t handle) const;

    // nullptr: the kernel knows more than it was told, or has forgotten it already.
    [[nodiscard]] std::shared_ptr<Node> node_of(std::uint64_t inode);

    // The errno, after what was found out about the file has been put to use.
    static Errno failed_to_read(OpenFile& opened, const Error& error);

    // To the tag's generation, if it is of what lies in the directory now.
    void adopt_as_current(const std::string& directory, const std::shared_ptr<const Tag>& tag);

    const std::shared_ptr<ReadAhead> read_ahead_;  // nullptr: none
    std::shared_ptr<SourceTree> tree_;
    MountTree mount_;
    std::unique_ptr<WritableMount> writable_;  // nullptr: read-only
    bool lists_suggestions_;
    std::shared_ptr<Node> root_;
    std::optional<OwnDirectory> own_;  // nullopt: the mount says nothing of itself
    HandleTable<OpenFile> files_;
    HandleTable<OpenDirectory> directories_;

    std::uint64_t trimmed_after_ = 0;  // generations_read() then

    // Whose adopted tag stays in memory although the kernel knows nothing of it yet: set before anybody is served, let
    // go of by tidy() when that tag is gone or another has taken its place.
    std::shared_ptr<SourceDirectory> adopted_;
    std::weak_ptr<TagGeneration> adopted_generation_;

    MemoryReclaimer reclaimer_;  // last: it uses the rest
};

}  // namespace ckptfs
