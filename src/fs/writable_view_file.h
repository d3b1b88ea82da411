// A file of a view in a mount that can be written.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "fs/node.h"
#include "fs/standing_view.h"
#include "fs/writable_mount.h"

namespace ckptfs {

/// Never written: to write it whole, or at its end, is to write SOURCE's file of its name. The kernel is made to look
/// the name up again for that. Attributes are those of the shards that it is cut from, and set on all of them.
class WritableViewFile final : public Node {
 public:
    WritableViewFile(WritableMount& mount, std::shared_ptr<WritableTag> tag, StandingView standing, std::size_t index,
                     std::string name);

    Outcome<FileAttributes> attributes(std::uint64_t inode) override;
    Outcome<OpenedBytes> open() override;
    Outcome<OpenedBytes> open_for(int flags, const Caller& caller) override;
    Outcome<FileAttributes> change(std::uint64_t inode, const SourceHandle* handle, const AttributeChange& change,
                                   const Caller& caller) override;
    Outcome<std::vector<std::byte>> attribute(const std::string& name, const Caller& caller) override;
    Outcome<std::vector<std::string>> attribute_names(const Caller& caller) override;
    Outcome<Done> set_attribute(const std::string& name, std::span<const std::byte> value, int flags,
                                const Caller& caller) override;
    Outcome<Done> remove_attribute(const std::string& name, const Caller& caller) override;

 private:
    /// ESTALE: the name stands for something else by now.
    [[nodiscard]] Outcome<Done> check_shown();
    [[nodiscard]] Outcome<Done> take_over(bool truncates, const Caller& caller);
    /// Paths of the shards of its set, those of the save before left-overs; ESTALE where it is no longer shown.
    [[nodiscard]] Outcome<std::vector<std::string>> shards();
    /// Does `set` to each of them.
    template <class Set>
    [[nodiscard]] Outcome<Done> on_shards(Set set);

    WritableMount& mount_;
    std::shared_ptr<WritableTag> tag_;
    StandingView standing_;
    std::size_t index_;
    std::string name_;
};

/// The file `index` of what `tag` shows.
Outcome<LookedUpEntry> writable_view_entry(WritableMount& mount, std::shared_ptr<WritableTag> tag,
                                           const ShownTag& shown, std::size_t index);
/// The start of the identity of each file of what `tag` shows.
IdentityHasher identity_of_shown(const WritableMount& mount, const ShownTag& shown);

}  // namespace ckptfs
