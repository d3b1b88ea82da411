// The files of a view where they stand in the mount.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/mount_tree.h"
#include "fs/tag_files.h"

namespace ckptfs {

/// Where the files of one tag stand.
struct StandingView {
    std::shared_ptr<const TagFiles> files;
    std::shared_ptr<const ShownRoot> root;  ///< what they lie below
    std::string place;                      ///< in the mount: the directory that the view's paths are relative to
    /// They stand outside the tag directory: whoever opens them has not gone the way to it, which counts.
    bool is_outside_tag = false;
    /// The directory of which the tag must be the current one for as long as the files are opened; nullptr: of none.
    std::shared_ptr<SourceDirectory> holder = nullptr;
};

/// The start of the identity of each of its files.
[[nodiscard]] IdentityHasher identity_of_files(const MountTree& mount, const StandingView& standing);

/// What file `index` of `view`, which is that of `standing`, shows: permissions as the ways to it leave them.
[[nodiscard]] Outcome<FileInfo> info_of(const MountTree& mount, const StandingView& standing, const View& view,
                                        std::size_t index);
/// `user.ckptfs.generation` and `user.ckptfs.sources` of file `index`; ENODATA for any other name.
[[nodiscard]] Outcome<std::vector<std::byte>> own_attribute(const StandingView& standing, std::size_t index,
                                                            std::string_view name);
/// Its bytes. Whether they are of now is the caller's question, once it has them: it asks is_current() of them.
[[nodiscard]] Outcome<OpenedBytes> open_file(const StandingView& standing,
                                             const std::shared_ptr<const TagFiles::Content>& content,
                                             std::size_t index);

/// The file or directory of the view at `path`; nullopt where it has none. The view is there.
std::optional<Outcome<LookedUpEntry>> view_entry(MountTree& mount, const StandingView& standing, std::string_view path,
                                                 Lifetime lifetime, std::uint64_t parent);
/// File `index`, under the name `name` in the place of the view.
Outcome<LookedUpEntry> view_file_entry(MountTree& mount, const StandingView& standing, std::size_t index,
                                       std::string_view name, Lifetime lifetime);
/// The directory at `path`, "" for the view's own.
Outcome<LookedUpEntry> view_directory_entry(MountTree& mount, const StandingView& standing, std::string_view path,
                                            Lifetime lifetime, std::uint64_t parent);

/// Adds what the view has at `path` to `entries`, or to `listing` where that need not be spelt out.
void list_view(const MountTree& mount, const StandingView& standing, std::string_view path,
               std::vector<DirectoryEntry>& entries, Listing& listing);

/// Whether the tag is still that generation, by stamps taken anew; where it is not, its directory expires.
[[nodiscard]] bool is_current(const TagFiles& files);
/// The same for `opened`, what a file of `content` was opened to: by the stamps that are looked at for one file (see
/// TagGeneration::is_current_for). An error of opening it counts only while that holds.
[[nodiscard]] bool is_current(const TagFiles& files, const TagFiles::Content& content,
                              const Outcome<OpenedBytes>& opened);

/// Of a file that cannot be shown.
struct Unshown {
    std::function<Errno()> refuse;     ///< EIO, or ENOMEM, and the reason, which is in the log then
    std::function<bool()> is_current;  ///< whether the reason stands still
};
/// For the problem that these have.
[[nodiscard]] Unshown unshown(const std::shared_ptr<const TagFiles>& files);

/// In the place of a file that cannot be shown: it is listed, and opening it is EIO, or ESTALE once that is no longer
/// current, so that a tag which was repaired opens at once. `info`: of the directory that it stands for, whose owner it
/// has. `signature`: of the tag.
Outcome<LookedUpEntry> unshown_entry(MountTree& mount, const ViewRequest& request, const std::string& place,
                                     FileInfo info, std::uint64_t signature, Unshown unshown);

}  // namespace ckptfs
