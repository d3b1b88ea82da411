// A directory of SOURCE, listed at most once a second.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "fs/clocks.h"
#include "fs/tag_generation.h"

namespace ckptfs {

class SourceTree;
struct CurrentTag;

/// One directory of SOURCE, whatever it is shown as.
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

    /// Of these entries of it, with stamps taken now.
    [[nodiscard]] TagGeneration::Shards shards_among(const std::vector<DirectoryEntry>& entries) const;
    /// At most `freshness` old. Lists the directory and takes the stamps of a tag's shards, but reads nothing. Where
    /// all shards of a large tag take long to look at, those that tell of a save are looked at each time, and all of
    /// them as often as takes a small part of the time.
    Result<std::shared_ptr<const Snapshot>> current();
    /// What find_current_tag() says of this directory, as often as there is another snapshot.
    std::shared_ptr<const CurrentTag> current_tag(const std::shared_ptr<const Snapshot>& snapshot);
    /// Makes the next current() look again, whatever the age of the last one.
    void expire();
    /// Of the last look, however old; null: there was none, or no tag.
    [[nodiscard]] std::shared_ptr<TagGeneration> last_generation();

 private:
    [[nodiscard]] bool is_due(TimePoint now);
    // Of these entries. The last one, where all shards need not be looked at and what tells of a save says so.
    std::shared_ptr<TagGeneration> generation_of(const std::vector<DirectoryEntry>& entries, TimePoint now,
                                                 bool look_at_all);

    std::shared_ptr<SourceTree> tree_;
    std::string path_;

    std::mutex mutex_;  // held while listing: concurrent lookups cost one listing
    std::shared_ptr<const Snapshot> snapshot_;
    std::atomic<bool> expired_ = false;
    std::optional<TimePoint> looked_at_all_;            // of the shards of the last generation
    TimePoint::duration look_at_all_after_{freshness};  // since then

    std::mutex current_tag_mutex_;  // held while looking
    std::shared_ptr<const Snapshot> current_tag_of_;
    std::shared_ptr<const CurrentTag> current_tag_;
};

}  // namespace ckptfs
