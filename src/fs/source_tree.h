// SOURCE as the file system sees it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/clocks.h"
#include "fs/known_tags.h"
#include "fs/source_directory.h"
#include "util/permissions.h"

namespace ckptfs {

/// What all directories share. Safe for concurrent use.
class SourceTree : public std::enable_shared_from_this<SourceTree> {
 public:
    SourceTree(std::shared_ptr<const Source> source, std::shared_ptr<const TagReader> reader, Clocks clocks,
               bool allow_other);

    [[nodiscard]] const Source& source() const { return *source_; }
    [[nodiscard]] const TagReader& reader() const { return *reader_; }
    [[nodiscard]] TimePoint now() const { return clocks_.now(); }
    [[nodiscard]] const Clocks& clocks() const { return clocks_; }
    [[nodiscard]] KnownTags& known_tags() { return known_tags_; }
    /// Held by whoever reads a tag again after memory was short.
    [[nodiscard]] std::mutex& turn_for_memory() { return turn_for_memory_; }

    /// Whether anybody but the mount's own user may come.
    [[nodiscard]] bool allows_others() const { return allow_other_; }
    /// What the directories on the way to `path`, which has no symbolic links in it, leave of a file's permissions.
    /// Empty where nobody but the mount's own user is let in.
    [[nodiscard]] Result<std::vector<Permissions>> passages_to(const std::string& path) const;

    /// One object for a path as long as anybody holds it. Does not look at the source.
    std::shared_ptr<SourceDirectory> directory(const std::string& path);
    /// Makes each of them look again, however fresh its last look.
    void expire();

 private:
    std::shared_ptr<const Source> source_;
    std::shared_ptr<const TagReader> reader_;
    Clocks clocks_;
    bool allow_other_;
    KnownTags known_tags_;
    std::mutex turn_for_memory_;

    std::mutex mutex_;
    std::unordered_map<std::string, std::weak_ptr<SourceDirectory>> directories_;
    std::size_t purge_at_ = 64;
};

}  // namespace ckptfs
