// The directories that may be tags of a mount that can be written.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "fs/path_move.h"
#include "fs/writable_tag.h"

namespace ckptfs {

/// Safe for concurrent use.
class WritableTags {
 public:
    WritableTags(std::shared_ptr<SourceTree> tree, const ViewRequest& request,
                 std::shared_ptr<const SourceWriter> writer);

    /// One object for the directory at `path`. Does not look at the source.
    [[nodiscard]] std::shared_ptr<WritableTag> at(const std::string& path);
    /// nullptr: nobody has asked for it.
    [[nodiscard]] std::shared_ptr<WritableTag> find(const std::string& path);
    /// Directories were renamed.
    void follow(const PathMove& move);
    /// The directory was removed.
    void forget(const std::string& path);
    /// To be called every few seconds: lets go of those that nobody has and that remember nothing.
    void tidy();

 private:
    std::shared_ptr<SourceTree> tree_;
    const ViewRequest request_;
    std::shared_ptr<const SourceWriter> writer_;

    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<WritableTag>> tags_;  // by path
};

}  // namespace ckptfs
