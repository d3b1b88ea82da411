// What a directory that may be a tag shows in a mount that can be written, and what this mount does to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "fs/clocks.h"
#include "fs/file_system.h"
#include "fs/source_directory.h"
#include "fs/source_tree.h"
#include "fs/tag_files.h"
#include "io/source_writer.h"

namespace ckptfs {

using NameSet = std::set<std::string, std::less<>>;

/// What stands in the place of SOURCE's shards at one moment.
struct ShownTag {
    /// nullptr: SOURCE's own bytes under their own names.
    std::shared_ptr<const TagFiles> files;
    std::shared_ptr<const TagFiles::Content> content;  ///< with a view, where there are files
    std::shared_ptr<const NameSet> removed;            ///< of the view's files; nullptr: none
    bool is_unread = false;                            ///< the tag may be whole, but could not be read
    Lifetime lifetime = freshness;

    enum class Name {
        plain,    ///< SOURCE's, be it there or not
        shown,    ///< a file of the view
        hidden,   ///< a shard of SOURCE that the view has no file of
        removed,  ///< a file of the view that was removed
    };
    [[nodiscard]] Name kind_of(std::string_view name) const;
};

/// Whether nothing can be made under such a name: SOURCE's own answer for what is hidden.
[[nodiscard]] inline bool is_taken(ShownTag::Name kind) {
    return kind == ShownTag::Name::shown || kind == ShownTag::Name::hidden;
}

/// How long a removal is remembered that does not go on.
inline constexpr std::chrono::seconds removal_memory{60};

/// A tag that is whole and cut for another world size is shown as its view. Everything else is SOURCE's as it is: tags
/// that are cut for this one, that are incomplete or broken, and, without a look at them, those whose shards are being
/// written through this mount, or were just now.
/// Files of the view are removed one by one, and SOURCE's shards behind them all at once, when the last file that is
/// made of them is gone: a removal that is cut short leaves a whole tag or none of these. Meanwhile the view stays what
/// it was. Safe for concurrent use.
class WritableTag {
 public:
    WritableTag(std::shared_ptr<SourceDirectory> directory, const ViewRequest& request,
                std::shared_ptr<const SourceWriter> writer);

    [[nodiscard]] std::string path() const { return directory()->path(); }
    [[nodiscard]] std::shared_ptr<SourceDirectory> directory() const;
    /// The directory was renamed. What was removed of the tag stays so.
    void move_to(std::shared_ptr<SourceDirectory> directory);

    /// Reads the tag where that is due. An error: SOURCE does not say what is there, so that nobody knows what a name
    /// stands for.
    [[nodiscard]] Outcome<ShownTag> look();
    [[nodiscard]] Outcome<ShownTag::Name> kind_of(std::string_view name);
    /// Before SOURCE's file `name` is read, or changed other than as a whole: ESTALE where the name stands for
    /// something else, EIO where that cannot be said.
    [[nodiscard]] Outcome<Done> may_be_used(std::string_view name);
    /// Whether `files`, which look() has answered, are of now, of which one was opened: its stamps are taken anew.
    [[nodiscard]] bool is_current(const std::shared_ptr<const TagFiles>& files, const TagFiles::Content& content,
                                  const Outcome<OpenedBytes>& opened);

    /// One line in the log for a whole tag that cannot be shown, so that its own shards are.
    void report_unshown();

    /// A shard is open for writing, until as many calls of end_writing().
    void begin_writing();
    void end_writing();
    /// A shard was made, replaced or written.
    void note_change();
    /// Attributes of shards were set.
    void note_new_attributes() const;

    /// Before a shard is made under `name`: of what the view no longer shows, SOURCE's files go, and the removal ends.
    Outcome<Done> end_removal(const Caller& caller);
    /// SOURCE's file of the name of one of the view's is made, with `mode`, where it is not there, and is what is shown
    /// from now on.
    Outcome<Done> take_over(const std::string& name, bool truncates, std::uint32_t mode, const Caller& caller);
    /// unlink(2) of a name that may be a shard's.
    Outcome<Done> remove(const std::string& name, const Caller& caller);
    /// Before the directory goes: where all that is left in it is hidden, that is removed.
    Outcome<Done> remove_hidden(const Caller& caller);

    /// Lets go of a removal that does not go on, and with it of the tag. Whether something is remembered still that no
    /// look at SOURCE would tell.
    bool tidy();

 private:
    using Snapshot = SourceDirectory::Snapshot;

    struct Removal {
        std::shared_ptr<const TagFiles> files;
        std::shared_ptr<const TagFiles::Content> content;
        NameSet removed;                          ///< of the view's files
        std::map<std::size_t, std::size_t> left;  ///< how many of the view's files, by set
        NameSet gone;                             ///< of the shards of the generation
        NameSet going;                            ///< the same, at this moment
        TimePoint last;
    };

    [[nodiscard]] TimePoint now() const { return directory()->tree().now(); }
    [[nodiscard]] bool is_being_written();
    [[nodiscard]] std::shared_ptr<const Removal> last_removal();
    /// look(), at SOURCE as it is now, where a removal goes on; nothing is `removed` where none does.
    [[nodiscard]] Outcome<ShownTag> look_at_removal();
    /// What `removal`, which was the last one before that look at SOURCE, has come to; nullptr: it has ended.
    [[nodiscard]] Outcome<std::shared_ptr<const Removal>> removal_in(const Snapshot& snapshot,
                                                                     std::shared_ptr<const Removal> removal);
    /// `removal` with the view that can be read where `directory`, which `snapshot` is of, is now: after a rename, as
    /// long as all of SOURCE's shards are there. Else the view stays what it was, and only its names are of use.
    [[nodiscard]] std::shared_ptr<const Removal> removal_here(std::shared_ptr<const Removal> removal,
                                                              const Snapshot& snapshot,
                                                              const std::shared_ptr<SourceDirectory>& directory);
    /// Of the tag that is shown; the one that goes on, if there is one.
    [[nodiscard]] Removal removal_of(const ShownTag& shown);
    void remember(Removal removal);
    /// Until one fails. What is not there any more counts as removed. False, and the removal has ended: one is not what
    /// was read, but somebody's who has made it since.
    Outcome<bool> remove_shards(Removal& removal, NameSet names, const Caller& caller);
    /// unlink(2) of SOURCE's file, whatever it is by now.
    Outcome<Done> remove_passed_through(Removal removal, const std::string& name, const Caller& caller);
    [[nodiscard]] Outcome<bool> is_as_read(const Removal& removal, const std::string& name) const;
    [[nodiscard]] Outcome<bool> is_what_is_left(const TagGeneration::Shards& shards, const Removal& removal) const;
    [[nodiscard]] static NameSet shards_of(const Removal& removal, std::size_t set);

    const ViewRequest request_;
    const std::shared_ptr<const SourceWriter> writer_;

    std::mutex changing_;  // held while something is removed or taken over; before mutex_

    mutable std::mutex mutex_;
    std::shared_ptr<SourceDirectory> directory_;
    std::shared_ptr<const TagFiles> files_;  // of the last generation asked for: the tag stays in memory
    std::size_t writers_ = 0;
    std::optional<TimePoint> changed_at_;
    std::shared_ptr<const Removal> removal_;
};

}  // namespace ckptfs
