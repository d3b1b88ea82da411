// A directory of SOURCE in a mount that can be written.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "fs/writable_node.h"

namespace ckptfs {

/// Names are SOURCE's of now, but for what a tag shows instead.
class WritableDirectory final : public WritableNode {
 public:
    /// `parent`: the inode of the directory that it lies in.
    WritableDirectory(WritableMount& mount, std::string path, std::uint64_t parent, const FileInfo& info);
    /// SOURCE itself.
    explicit WritableDirectory(WritableMount& mount);

    [[nodiscard]] Outcome<Place> locate() override;
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
    Outcome<Done> rename(std::string_view name, Node& target, std::string_view new_name, unsigned flags,
                         const Caller& caller) override;
    Outcome<Done> sync_directory(bool data_only) override;

    void found_at(const std::string& path, std::uint64_t parent) override;

 private:
    /// Whether its mode has less than SOURCE's own: what the directories above SOURCE leave of that.
    [[nodiscard]] bool is_restricted() const;
    /// The tag that an entry `name` at `path` counts for, which is kept; nullptr: none.
    [[nodiscard]] std::shared_ptr<WritableTag> tag_for(const std::string& path, std::string_view name);
    [[nodiscard]] std::shared_ptr<WritableTag> kept(const std::string& path);
    /// What `make` makes of SOURCE's path for the new entry `name`.
    template <class Make>
    Outcome<LookedUpEntry> make(std::uint64_t inode, std::string_view name, const Caller& caller, Make make);
    /// Whether `name`, at `path`, may be renamed, or take part in it as its target.
    [[nodiscard]] static Outcome<Done> may_leave(WritableTag* tag, std::string_view name);
    [[nodiscard]] static Outcome<Done> may_be_replaced(WritableTag* tag, std::string_view name, unsigned flags,
                                                       const Caller& caller);

    bool is_root_;
    std::mutex mutex_;
    std::uint64_t parent_;
    std::shared_ptr<WritableTag> tag_;  // stays in memory as long as this inode
};

}  // namespace ckptfs
