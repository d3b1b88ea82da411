// What is remembered of tags beyond the inodes that the kernel knows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/saved_files.h"

namespace ckptfs {

class TagGeneration;

/// Safe for concurrent use.
class KnownTags {
 public:
    /// `source` outlives it.
    explicit KnownTags(const Source& source);

    /// What the tag at `path` was made of when it was whole; null: unknown.
    std::shared_ptr<const SavedFiles> last_save(const std::string& path) const;
    /// Of a whole tag that was read at `path`.
    void note_save(const std::string& path, const Tag& tag);
    /// The times of the files of the tag at `path` are about to be set by hand.
    void forget_save(const std::string& path);
    /// Of a tag that was asked for.
    void note_use() { used_ = true; }
    /// Of a generation that has its tag in memory now.
    void note_loaded(const std::shared_ptr<TagGeneration>& generation);
    /// Of one that has it again, without having read it.
    void note_kept(const std::shared_ptr<TagGeneration>& generation);
    [[nodiscard]] bool is_loaded(const std::weak_ptr<TagGeneration>& generation) const;
    [[nodiscard]] std::vector<std::shared_ptr<TagGeneration>> loaded() const;
    /// How often note_loaded() was called.
    [[nodiscard]] std::uint64_t generations_read() const { return generations_read_; }
    /// To be called every few seconds, from any one thread: lets go of what is kept of tags that are gone. Looks at a
    /// few of those that are in memory, and ever more rarely while none is used: a thousand nodes may have mounted
    /// SOURCE, and idle ones hold no descriptors. Where no tag was asked for in `idle_calls_until_let_go` calls, and
    /// `is_in_use` is false, none is kept. Returns whether any was let go of.
    bool forget_removed(bool is_in_use);
    /// Lets go of all tags in memory that are not being read just now; they are read again when somebody asks. Returns
    /// whether there was one. Called by whoever reserves memory: it waits for nobody but for the short locks of
    /// KnownTags, of the list of files of a generation and of view::FileCache, under which nobody reserves.
    bool let_go();

    /// Of a tag that was read: suggestions() asks it, as long as it is in memory.
    void note_read(const std::shared_ptr<const Tag>& tag);
    /// Names of requests that the tags read so far suggest, each once. Asks each tag once, when it is first needed: a
    /// tag looks at its whole model to answer.
    [[nodiscard]] std::vector<std::string> suggestions();

 private:
    /// Of forget_removed(): a quarter of an hour.
    static constexpr unsigned idle_calls_until_let_go = 450;

    using Loaded = std::set<std::weak_ptr<TagGeneration>, std::owner_less<>>;

    [[nodiscard]] bool is_gone(const std::string& path) const;
    bool forget(const std::shared_ptr<TagGeneration>& generation);
    void forget_saves_of_removed();
    // The next few in turn.
    std::vector<std::shared_ptr<TagGeneration>> loaded_to_look_at();

    const Source& source_;

    mutable std::mutex mutex_;  // nobody reserves memory under it
    std::set<std::weak_ptr<const Tag>, std::owner_less<>> unasked_;
    std::set<std::string> suggestions_;
    std::unordered_map<std::string, std::shared_ptr<const SavedFiles>> last_saves_;  // by path
    std::size_t forget_saves_at_ = 64;
    Loaded loaded_;

    std::atomic<std::uint64_t> generations_read_ = 0;
    std::atomic<bool> used_ = false;
    // Of the thread that calls forget_removed().
    unsigned idle_calls_ = 0;
    std::weak_ptr<TagGeneration> last_looked_at_;
};

}  // namespace ckptfs
