// One state of a tag directory: which files it had, and the tag that was read from them.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/view.h"
#include "fs/clocks.h"
#include "util/permissions.h"

namespace ckptfs {

class SourceDirectory;
class SourceTree;
class TagFiles;

/// A tag of no more files than these is looked at whole whenever one of its files is opened.
inline constexpr std::size_t looked_at_whole = 16;
/// How many threads look at so many files: looking at one that is far away is waiting.
[[nodiscard]] std::size_t looks_at_a_time(std::size_t count);

/// Whether the budget of memory, or the system, had too little left: there may be more in a moment.
[[nodiscard]] bool lacks_memory(const Error& error);

/// All zero for what is not there.
[[nodiscard]] FileStamp stamp_of(const Source& source, const std::string& path);

/// One generation of a tag directory: the names and stamps of its shard files, and the tag once somebody needed it.
class TagGeneration : public std::enable_shared_from_this<TagGeneration> {
 public:
    struct Shards {
        std::vector<std::string> names;  ///< sorted
        std::vector<FileStamp> stamps;   ///< all zero for one that vanished between listing and stat

        bool operator==(const Shards&) const = default;
    };

    TagGeneration(std::shared_ptr<SourceTree> tree, std::string path, Shards shards);

    [[nodiscard]] const Shards& shards() const { return shards_; }
    /// A hash of the shards, never 0.
    [[nodiscard]] std::uint64_t signature() const { return signature_; }

    /// Whether the shards have these stamps still: one look at each.
    [[nodiscard]] bool is_current() const;
    /// The same of those alone that tell whether a save has ended since, and of those that `file`, opened by a view of
    /// `tag`, takes bytes from (nullptr: none): what is looked at grows with files, and not with files times ranks. A
    /// tag of few files is looked at whole.
    [[nodiscard]] bool is_current_for(const Tag& tag, const File* file) const;
    /// The same without a file; nullopt: the tag was never read, or is being read just now. Waits for nobody.
    [[nodiscard]] std::optional<bool> is_last_save() const;

    [[nodiscard]] const std::string& path() const { return path_; }
    /// The directory, for messages.
    [[nodiscard]] std::string display() const;
    /// What the ways to shards that are symbolic links leave of permissions: at most `freshness` old, since no stamp of
    /// a shard tells that a directory on the way to it was closed.
    [[nodiscard]] Result<std::vector<Permissions>> passages() const;
    /// Reads the tag on the first call, once its files have settled; concurrent first calls wait for that one read. If
    /// the shards changed before they were read, the directory expires, so that the next look at it starts a new
    /// generation. Where some of the files are those of the last whole generation and others are not, a save is running
    /// or was broken off: the tag has a problem then.
    std::shared_ptr<const Tag> tag();
    /// Without reading or waiting; nullptr: it has not been read, or is being read just now.
    [[nodiscard]] std::shared_ptr<const Tag> tag_if_read();
    /// Lets go of the tag, which is read again when it is asked for. False: it is being read just now, and stays.
    [[nodiscard]] bool unload();
    /// Takes a tag read elsewhere, if it is whole and was read from these very shards, which had settled.
    void adopt(const std::shared_ptr<const Tag>& tag);
    /// Whether reading failed for a reason that may pass without any stamp changing.
    [[nodiscard]] bool worth_another_read() const { return worth_another_read_; }

    /// One object for a request as long as anybody holds it.
    std::shared_ptr<const TagFiles> files_for(const ViewRequest& request,
                                              const std::shared_ptr<SourceDirectory>& directory);

 private:
    [[nodiscard]] bool is_current(std::size_t shard) const;
    [[nodiscard]] bool are_current(const std::vector<std::size_t>& shards) const;
    /// Of these of its stamped files; nullopt where one is no longer among the shards.
    [[nodiscard]] std::optional<std::vector<std::size_t>> shards_of(const Tag& tag,
                                                                    const std::vector<std::size_t>& stamped) const;
    [[nodiscard]] bool has_settled() const;
    [[nodiscard]] bool read_from_these_shards(const Tag& tag) const;
    [[nodiscard]] Result<std::vector<Permissions>> find_passages() const;
    void set_tag(std::shared_ptr<const Tag> tag);
    /// Reads the tag. Where memory is short it waits for what others hold, up to five seconds, since files are read and
    /// closed; so does whoever needs the tag meanwhile. One at a time tries again, or two that fit one after the other
    /// would keep refusing each other.
    [[nodiscard]] std::shared_ptr<const Tag> read_once_there_is_room();

    std::shared_ptr<SourceTree> tree_;
    std::string path_;
    Shards shards_;
    std::uint64_t signature_;

    mutable std::mutex read_mutex_;  // held while reading: whoever waits for it needs this very tag
    std::shared_ptr<const Tag> tag_;
    std::weak_ptr<const Tag> last_tag_;                // who has a file open has it, too
    std::optional<std::vector<std::size_t>> telling_;  // shards that tell of every save, once the tag was read
    std::atomic<bool> is_being_read_ = false;          // by whoever has read_mutex_, who may call unload() from there
    std::atomic<bool> worth_another_read_ = false;

    mutable std::mutex passages_mutex_;  // held while looking: concurrent lookups cost one look
    mutable std::optional<TimePoint> passages_found_at_;
    mutable std::vector<Permissions> passages_;

    std::mutex files_mutex_;                                      // nobody reserves memory under it
    std::map<std::string, std::weak_ptr<const TagFiles>> files_;  // by name of the request
};

}  // namespace ckptfs
