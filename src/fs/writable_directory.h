// A directory of SOURCE in a mount that can be written.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "fs/writable_node.h"

namespace ckptfs {

/// Names are SOURCE's of now, but for what a tag shows instead.
class WritableDirectory final : public WritableNode, public std::enable_shared_from_this<WritableDirectory> {
 public:
    WritableDirectory(WritableMount& mount, const EntryPlace& place, const FileInfo& info);
    /// SOURCE itself.
    explicit WritableDirectory(WritableMount& mount);

    /// Of this directory, which was just seen at `path`, where an entry `name` counts for it; nullptr: it does not.
    [[nodiscard]] std::shared_ptr<WritableTag> tag_for(const std::string& path, std::string_view name);

    [[nodiscard]] Outcome<Found> locate() override;
    Outcome<FileAttributes> attributes(std::uint64_t inode) override;
    Outcome<std::vector<std::byte>> attribute(const std::string& name, const Caller& caller) override;
    Outcome<LookedUpEntry> lookup(std::uint64_t inode, std::string_view name) override;
    Outcome<Listing> list() override;
    Outcome<OpenedBytes> open() override { return Errno{EISDIR}; }
    Outcome<OpenedBytes> open_for(int /*flags*/, const Caller& /*caller*/) override { return Errno{EISDIR}; }

    Outcome<CreatedBytes> create(std::uint64_t inode, std::string_view name, int flags, std::uint32_t mode,
                                 const Caller& caller) override;
    Outcome<LookedUpEntry> make_directory(std::uint64_t inode, std::string_view name, std::uint32_t mode,
                                          const Caller& caller) override;
    Outcome<LookedUpEntry> make_node(std::uint64_t inode, std::string_view name, std::uint32_t mode,
                                     std::uint64_t device, const Caller& caller) override;
    Outcome<LookedUpEntry> make_symlink(std::uint64_t inode, std::string_view name, const std::string& target,
                                        const Caller& caller) override;
    Outcome<LookedUpEntry> make_link(std::uint64_t inode, std::string_view name, Node& existing,
                                     const Caller& caller) override;
    Outcome<Done> remove_file(std::string_view name, const Caller& caller) override;
    Outcome<Done> remove_directory(std::string_view name, const Caller& caller) override;
    Outcome<Done> rename(std::uint64_t inode, std::string_view name, Node& target, std::uint64_t target_inode,
                         std::string_view new_name, unsigned flags, const Caller& caller) override;
    Outcome<Done> sync_directory(bool data_only) override;

 private:
    /// Whether its mode has less than SOURCE's own: what the directories above SOURCE leave of that.
    [[nodiscard]] bool is_restricted() const;
    /// Of the entry `name` of this directory, which is at `path`, with that inode.
    [[nodiscard]] EntryPlace place_in(const std::string& path, std::uint64_t inode, std::string_view name);
    [[nodiscard]] std::shared_ptr<WritableTag> kept_tag(const std::string& path);
    /// Where it was found last, and with `for_shards` where its tag is, too.
    [[nodiscard]] Outcome<std::string> path_for_lookup(bool for_shards);
    /// What `make` makes of SOURCE's path for the new entry `name`. `is_new`: the first name of what it makes.
    template <class Make>
    Outcome<LookedUpEntry> make(std::uint64_t inode, std::string_view name, const Caller& caller, bool is_new,
                                Make make);
    /// Whether what is called `name` may be renamed, or be in the way of it.
    [[nodiscard]] static Outcome<Done> may_leave(WritableTag* tag, std::string_view name);
    [[nodiscard]] static Outcome<Done> may_be_replaced(WritableTag* tag, std::string_view name, unsigned flags);
    /// Where the directory at `path` shows nothing any more, nothing is left in it.
    [[nodiscard]] Outcome<Done> empty(const std::string& path, const Caller& caller);
    /// The node of what is there now (nullptr: the kernel has none), and whether that is a directory.
    std::pair<std::shared_ptr<WritableNode>, bool> note_renamed(const EntryPlace& place);

    bool is_root_;
    std::mutex mutex_;
    std::shared_ptr<WritableTag> tag_;  // stays in memory as long as this inode
};

}  // namespace ckptfs
