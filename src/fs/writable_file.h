// Files and symbolic links of SOURCE in a mount that can be written.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fs/writable_node.h"

namespace ckptfs {

/// Anything but a directory or a symbolic link. Open, it is a descriptor of SOURCE's file.
class WritableFile final : public WritableNode {
 public:
    using WritableNode::WritableNode;

    Outcome<OpenedBytes> open() override;
    Outcome<OpenedBytes> open_for(int flags, const Caller& caller) override;
    Outcome<FileAttributes> change(std::uint64_t inode, const SourceHandle* handle, const AttributeChange& change,
                                   const Caller& caller) override;

    /// For a handle of this file that has just been opened. `tag`: what it counts for, which is told when the handle is
    /// closed; nullptr: none.
    [[nodiscard]] OpenedBytes opened(std::shared_ptr<const SourceHandle> handle, const FileInfo& info,
                                     std::shared_ptr<WritableTag> tag);

 protected:
    [[nodiscard]] std::vector<std::shared_ptr<const SourceHandle>> handles() override;

 private:
    std::mutex mutex_;
    std::vector<std::weak_ptr<const SourceHandle>> handles_;
    // When it was opened last, if its bytes could not change any more without another stamp.
    std::optional<FileStamp> stamp_;
};

class WritableLink final : public WritableNode {
 public:
    using WritableNode::WritableNode;

    Outcome<OpenedBytes> open() override { return Errno{ELOOP}; }
    Outcome<OpenedBytes> open_for(int /*flags*/, const Caller& /*caller*/) override { return Errno{ELOOP}; }
    Outcome<std::string> read_link() override;
};

}  // namespace ckptfs
