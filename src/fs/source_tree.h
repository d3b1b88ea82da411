// SOURCE as the file system sees it: directories that are listed at most once a second, and the generations of their
// tags.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/saved_files.h"
#include "util/permissions.h"

namespace ckptfs {

class SourceDirectory;
class TagFiles;
class TagGeneration;

using TimePoint = std::chrono::steady_clock::time_point;

/// What a listing is trusted for.
inline constexpr std::chrono::seconds freshness{1};

/// How long the files of a tag must have been left alone before it is read. The kernel sets a file's times before it
/// copies what is written, and on many systems a hundred or a thousand writes have the same time: until then, other
/// bytes may come under the same stamp.
inline constexpr std::chrono::milliseconds settling_time{100};
/// The same where the tag was whole before: a save over it is running, and goes on to its next file within this time.
inline constexpr std::chrono::milliseconds settling_time_of_save{1000};
/// Files that changed longer ago than this have settled, as far as the clock that their times are from, which may be a
/// server's, and that of this machine agree within it: a file that a server dates further back settles at once.
inline constexpr std::chrono::seconds settled_age{2};

struct Clocks {
    std::function<TimePoint()> now;             ///< what freshness is measured with
    std::function<std::int64_t()> wall_now_ns;  ///< since the epoch, as times of files are
    std::function<void(std::chrono::milliseconds)> sleep;
};

/// What all directories share. Safe for concurrent use.
class SourceTree : public std::enable_shared_from_this<SourceTree> {
 public:
    SourceTree(std::shared_ptr<const Source> source, std::shared_ptr<const TagReader> reader, Clocks clocks,
               bool allow_other);

    [[nodiscard]] const Source& source() const { return *source_; }
    [[nodiscard]] const TagReader& reader() const { return *reader_; }
    [[nodiscard]] TimePoint now() const { return clocks_.now(); }
    [[nodiscard]] const Clocks& clocks() const { return clocks_; }

    /// Whether anybody but the mount's own user may come.
    [[nodiscard]] bool allows_others() const { return allow_other_; }
    /// What the directories on the way to `path`, which has no symbolic links in it, leave of a file's permissions.
    /// Empty where nobody but the mount's own user is let in.
    [[nodiscard]] Result<std::vector<Permissions>> passages_to(const std::string& path) const;

    /// One object for a path as long as anybody holds it. Does not look at the source.
    std::shared_ptr<SourceDirectory> directory(const std::string& path);

    /// What the tag at `path` was made of when it was whole; null: unknown.
    std::shared_ptr<const SavedFiles> last_save(const std::string& path) const;
    /// Of a whole tag that was read at `path`.
    void note_save(const std::string& path, const Tag& tag);
    /// Of a tag that was asked for.
    void note_use() { used_ = true; }
    /// Of a generation that has its tag in memory now.
    void note_loaded(const std::shared_ptr<TagGeneration>& generation);
    [[nodiscard]] bool is_loaded(const std::weak_ptr<TagGeneration>& generation) const;
    /// To be called every few seconds, from any one thread: lets go of what is kept of tags that are gone. Looks at a
    /// few of those that are in memory, and ever more rarely while none is used: a thousand nodes may have mounted
    /// SOURCE, and idle ones hold no descriptors.
    void forget_removed_tags();

    void note_world_size(std::uint64_t world_size);
    /// Of the whole tags that have been read, ascending.
    [[nodiscard]] std::vector<std::uint64_t> world_sizes() const;

 private:
    using Loaded = std::set<std::weak_ptr<TagGeneration>, std::owner_less<>>;

    [[nodiscard]] bool is_gone(const std::string& path) const;
    void forget(const std::shared_ptr<TagGeneration>& generation);
    void forget_saves_of_removed_tags();
    // The next few in turn.
    std::vector<std::shared_ptr<TagGeneration>> loaded_to_look_at();

    std::shared_ptr<const Source> source_;
    std::shared_ptr<const TagReader> reader_;
    Clocks clocks_;
    bool allow_other_;

    mutable std::mutex mutex_;
    std::unordered_map<std::string, std::weak_ptr<SourceDirectory>> directories_;
    std::size_t purge_at_ = 64;
    std::set<std::uint64_t> world_sizes_;
    std::unordered_map<std::string, std::shared_ptr<const SavedFiles>> last_saves_;  // by path
    std::size_t forget_saves_at_ = 64;
    Loaded loaded_;

    std::atomic<bool> used_ = false;
    // Of the thread that calls forget_removed_tags().
    unsigned idle_calls_ = 0;
    std::weak_ptr<TagGeneration> last_looked_at_;
};

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
    /// Lets go of the tag, which is read again when it is asked for. False: it is being read just now, and stays.
    [[nodiscard]] bool unload();
    /// Takes a tag read elsewhere, if it is whole and was read from these very shards, which had settled.
    void adopt(const std::shared_ptr<const Tag>& tag);
    /// Whether reading failed for a reason that may pass without any stamp changing.
    [[nodiscard]] bool worth_another_read() const { return worth_another_read_; }

    /// One object for a world size as long as anybody holds it.
    std::shared_ptr<const TagFiles> files_at(std::uint64_t world_size,
                                             const std::shared_ptr<SourceDirectory>& directory);

 private:
    [[nodiscard]] bool has_settled() const;
    [[nodiscard]] bool read_from_these_shards(const Tag& tag) const;
    [[nodiscard]] Result<std::vector<Permissions>> find_passages() const;
    void set_tag(std::shared_ptr<const Tag> tag);

    std::shared_ptr<SourceTree> tree_;
    std::string path_;
    Shards shards_;
    std::uint64_t signature_;

    std::mutex read_mutex_;  // held while reading: whoever waits for it needs this very tag
    std::shared_ptr<const Tag> tag_;
    std::atomic<bool> worth_another_read_ = false;

    mutable std::mutex passages_mutex_;  // held while looking: concurrent lookups cost one look
    mutable std::optional<TimePoint> passages_found_at_;
    mutable std::vector<Permissions> passages_;

    std::mutex files_mutex_;
    std::map<std::uint64_t, std::weak_ptr<const TagFiles>> files_;
};

/// The files of one generation of a tag at one world size.
class TagFiles {
 public:
    TagFiles(std::shared_ptr<SourceDirectory> directory, std::shared_ptr<TagGeneration> generation,
             std::uint64_t world_size);

    struct Content {
        std::shared_ptr<const View> view;  ///< null where there is a problem
        std::optional<Error> problem;
        /// Names of the source that must not be shown as they are: replaced by the view, or, where there is a problem,
        /// listed and not to be opened.
        std::set<std::string, std::less<>> shards;
    };
    /// Reads the tag and cuts it on the first call; concurrent first calls wait for that.
    [[nodiscard]] std::shared_ptr<const Content> content() const;
    /// null: nobody has called content() yet, or it was unloaded.
    [[nodiscard]] std::shared_ptr<const Content> loaded() const;
    /// The next content() reads the tag again. False: it is being read just now, and stays.
    [[nodiscard]] bool unload() const;

    [[nodiscard]] const TagGeneration& generation() const { return *generation_; }
    [[nodiscard]] const std::shared_ptr<SourceDirectory>& directory() const { return directory_; }
    /// One line in the log, on the first call.
    void report_problem() const;

 private:
    std::shared_ptr<SourceDirectory> directory_;
    std::shared_ptr<TagGeneration> generation_;
    std::uint64_t world_size_;

    mutable std::mutex mutex_;
    mutable std::shared_ptr<const Content> content_;
    mutable std::atomic<bool> reported_ = false;
};

/// One directory of SOURCE, whatever the world size that it is shown at.
class SourceDirectory {
 public:
    /// What was there at `checked_at`. Immutable.
    struct Snapshot {
        TimePoint checked_at;
        std::vector<DirectoryEntry> entries;        ///< sorted by name
        std::shared_ptr<TagGeneration> generation;  ///< null: not a tag

        [[nodiscard]] const DirectoryEntry* find(std::string_view name) const;
    };

    SourceDirectory(std::shared_ptr<SourceTree> tree, std::string path);

    [[nodiscard]] SourceTree& tree() const { return *tree_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    /// The path of an entry of it.
    [[nodiscard]] std::string child(std::string_view name) const;

    /// At most `freshness` old. Lists the directory and takes the stamps of a tag's shards, but reads nothing.
    Result<std::shared_ptr<const Snapshot>> current();
    /// Makes the next current() look again, whatever the age of the last one.
    void expire();
    /// Of the last look, however old; null: there was none, or no tag.
    [[nodiscard]] std::shared_ptr<TagGeneration> last_generation();

 private:
    [[nodiscard]] bool is_due(TimePoint now);
    std::shared_ptr<TagGeneration> generation_of(const std::vector<DirectoryEntry>& entries) const;

    std::shared_ptr<SourceTree> tree_;
    std::string path_;

    std::mutex mutex_;  // held while listing: concurrent lookups cost one listing
    std::shared_ptr<const Snapshot> snapshot_;
    std::atomic<bool> expired_ = false;
};

}  // namespace ckptfs
