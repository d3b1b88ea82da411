// A view: the files that a tag has under some request, each built when it is opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/placement.h"
#include "ckptfs/source.h"
#include "ckptfs/view_request.h"

namespace ckptfs {

/// An entry of a directory of a view.
struct ViewEntry {
    std::string name;                 ///< the last component of its path
    std::optional<std::size_t> file;  ///< its index; nullopt for a directory
};

/// The directories of a view whose files do not all stand in one. Immutable.
class ViewDirectories {
 public:
    /// `paths`: of file 0, 1, …; '/' between components. No file is a directory on the way to another.
    explicit ViewDirectories(const std::vector<std::string>& paths);

    /// Sorted by name; nullptr where `path` is no directory. "": the view's own.
    [[nodiscard]] const std::vector<ViewEntry>* find(std::string_view path) const;

 private:
    std::map<std::string, std::vector<ViewEntry>, std::less<>> entries_;
};

/// A file or symbolic link of a mount's root that no source has.
struct StaticEntry {
    std::string path;  ///< '/' between components
    bool is_link = false;
    std::string text;  ///< the bytes of a file, or where a symbolic link leads
};

/// The virtual files of one tag under one request. Immutable, safe for concurrent use.
class View {
 public:
    View() = default;
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    virtual ~View() = default;

    [[nodiscard]] virtual std::size_t file_count() const = 0;
    /// The path of file `index`, relative to where the view stands.
    [[nodiscard]] virtual std::string file_name(std::size_t index) const = 0;
    [[nodiscard]] virtual std::optional<std::size_t> find(std::string_view file_name) const = 0;
    /// nullptr where all files stand in one directory.
    [[nodiscard]] virtual const ViewDirectories* directories() const { return nullptr; }
    /// In bytes, exactly what open(index)->size() is. Costs the building of metadata, never the reading of tensors.
    [[nodiscard]] virtual Result<std::uint64_t> file_size(std::size_t index) const = 0;
    /// Owner, mode and times for file `index`: those of its source. Where it has several, the newest times, and no more
    /// than all of them grant.
    [[nodiscard]] virtual FileInfo file_info(std::size_t index) const = 0;
    /// Whether the file is read once, by one reader, as a rank reads its own shard. What several read stays in the page
    /// cache.
    [[nodiscard]] virtual bool read_once(std::size_t index) const = 0;
    /// Whether the view's files are the tag's own, byte for byte and under the same names.
    [[nodiscard]] virtual bool is_as_saved() const { return false; }
    /// Which of the view's sets a file of this name belongs to, be it the view's own, one of the tag that it is cut
    /// from, or a left-over of an older, larger save. Files of a set are cut from each other's, such as all optimizer
    /// files of a model-parallel rank. nullopt for any other name.
    [[nodiscard]] virtual std::optional<std::size_t> file_set(std::string_view /*name*/) const { return std::nullopt; }
    [[nodiscard]] virtual Result<std::shared_ptr<const File>> open(std::size_t index) const = 0;
};

/// One generation of a tag directory as it was read: whole and usable, or broken with the reason.
class Tag {
 public:
    Tag() = default;
    Tag(const Tag&) = delete;
    Tag& operator=(const Tag&) = delete;
    virtual ~Tag() = default;

    /// What is wrong with it; nullptr when it is whole. A view of what does not need the broken part may be had still.
    [[nodiscard]] virtual const Error* problem() const = 0;
    /// What its user should know before resuming from it, in whole sentences; mostly empty.
    [[nodiscard]] virtual const std::vector<std::string>& warnings() const = 0;
    /// The names in the tag directory that a view replaces. All else there passes through.
    [[nodiscard]] virtual const std::vector<std::string>& replaced_files() const = 0;
    /// The names that make up this generation: the replaced files, and those that pass through although they belong to
    /// the same save (a pipeline's layers).
    [[nodiscard]] virtual const std::vector<std::string>& stamped_files() const = 0;
    /// The stamps of stamped_files(), in the same order: as long as they are the directory's, this generation stands.
    [[nodiscard]] virtual const std::vector<FileStamp>& stamps() const = 0;
    /// Which of the stamped files the bytes of `file` come from, which a view of this tag has opened: their indices.
    /// All of them where that cannot be told.
    [[nodiscard]] virtual std::vector<std::size_t> stamped_behind(const File& /*file*/) const { return all_stamped(); }
    /// Stamped files of which every save over this tag writes some, whatever its world size: indices. Not empty where
    /// there are stamped files.
    [[nodiscard]] virtual std::vector<std::size_t> in_every_save() const { return all_stamped(); }
    /// Whether the stamped file `index` belongs to the save, rather than being left over from an older, larger one.
    [[nodiscard]] virtual bool is_of_save(std::size_t index) const = 0;
    /// The files that `request` asks for. An error is about this request alone.
    [[nodiscard]] virtual Result<std::shared_ptr<const View>> show(const ViewRequest& request) const = 0;
    /// What somebody who sees this tag may want to ask for.
    [[nodiscard]] virtual std::vector<ViewRequest> suggestions() const { return {}; }

 protected:
    [[nodiscard]] std::vector<std::size_t> all_stamped() const {
        std::vector<std::size_t> all(stamped_files().size());
        std::iota(all.begin(), all.end(), std::size_t{0});
        return all;
    }
};

/// Recognises and reads tag directories, so that the file system need not know any layout.
class TagReader {
 public:
    TagReader() = default;
    TagReader(const TagReader&) = delete;
    TagReader& operator=(const TagReader&) = delete;
    virtual ~TagReader() = default;

    /// From the listing alone: could this directory be a tag?
    [[nodiscard]] virtual bool recognises(const std::vector<DirectoryEntry>& listing) const = 0;
    /// Of the listing of a recognised directory, the names that decide about its generation: when one of them appears,
    /// vanishes or changes its stamp, the tag must be read again.
    [[nodiscard]] virtual std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) const = 0;
    /// Reads metadata only. Never fails as a whole: a tag that cannot be used says why in problem().
    [[nodiscard]] virtual std::shared_ptr<const Tag> read(const Source& source, const std::string& directory) const = 0;
    /// Where the views of its tags stand.
    [[nodiscard]] virtual Placement placement(const ViewRequest& /*request*/) const { return {.in_tag = true}; }
    /// Where show() fails: the names that are listed in the place of the view's files, opening which is an error. Empty
    /// where those are the names of the tag's own files.
    [[nodiscard]] virtual std::vector<std::string> names_of_unshown(const ViewRequest& /*request*/) const { return {}; }
    /// What says which tag is the current one of the directory `holder`: the tag's path in `source`, be there a tag or
    /// not. nullopt where nothing says so; an error where what does cannot be understood.
    [[nodiscard]] virtual Result<std::optional<std::string>> named_tag(const Source& /*source*/,
                                                                       const std::string& /*holder*/) const {
        return std::optional<std::string>();
    }
};

}  // namespace ckptfs
