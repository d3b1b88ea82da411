// The directories that may be tags of a mount that can be written.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "fs/writable_tag.h"

namespace ckptfs {

/// By device and inode, so that what is known of a directory goes where it is moved. Safe for concurrent use.
class WritableTags {
 public:
    WritableTags(std::shared_ptr<SourceTree> tree, const ViewRequest& request,
                 std::shared_ptr<const SourceWriter> writer);

    /// Device and inode; zeros for SOURCE itself.
    using Key = std::pair<std::uint64_t, std::uint64_t>;

    /// One object for the directory `key`, which somebody has just seen at `path`. Does not look at the source.
    [[nodiscard]] std::shared_ptr<WritableTag> at(const Key& key, const std::string& path);
    /// nullptr: nobody has asked for it.
    [[nodiscard]] std::shared_ptr<WritableTag> find(const Key& key);
    /// The directory was removed.
    void forget(const Key& key);
    /// To be called every few seconds: lets go of those that nobody has and that remember nothing.
    void tidy();

 private:
    std::shared_ptr<SourceTree> tree_;
    const ViewRequest request_;
    std::shared_ptr<const SourceWriter> writer_;

    std::mutex mutex_;
    std::map<Key, std::shared_ptr<WritableTag>> tags_;
};

}  // namespace ckptfs
