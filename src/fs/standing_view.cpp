// Nodes of a view: its files, its directories, and what stands for them where it cannot be made.
#include "fs/standing_view.h"

#include <cerrno>
#include <utility>

#include "fs/attributes.h"
#include "fs/current_tag.h"
#include "fs/own_directory.h"
#include "util/path.h"

namespace ckptfs {
namespace {

Result<std::vector<Permissions>> passages_of(const MountTree& mount, const StandingView& standing) {
    CKPTFS_ASSIGN(auto all, standing.files->generation().passages());
    CKPTFS_ASSIGN(const auto to_root, mount.passages_to(*standing.root));
    all.insert(all.end(), to_root.begin(), to_root.end());
    if (standing.is_outside_tag) {
        // The way to anything in the tag directory leads through that too.
        CKPTFS_ASSIGN(const auto to_tag,
                      mount.tree().passages_to(standing.files->directory()->child("any file of the tag")));
        all.insert(all.end(), to_tag.begin(), to_tag.end());
    }
    return all;
}

Outcome<Attributes> attributes_of(const MountTree& mount, const StandingView& standing, const View& view,
                                  std::size_t index, std::uint64_t inode) {
    const auto size = view.file_size(index);
    if (!size) {
        return answer(size.error());
    }
    const auto info = info_of(mount, standing, view, index);
    return info.ok() ? Outcome(virtual_attributes(info.value, inode, *size)) : info.failure();
}

constexpr std::string_view generation_attribute = "user.ckptfs.generation";
constexpr std::string_view sources_attribute = "user.ckptfs.sources";

/// As many as an extended attribute has room for, and how many more there are.
std::string lines_of(const std::vector<std::string>& names) {
    constexpr std::size_t room = 60'000;
    std::string text;
    std::size_t shown = 0;
    for (; shown < names.size() && text.size() + names[shown].size() < room; ++shown) {
        text += names[shown] + "\n";
    }
    return shown == names.size() ? text : text + "(and " + std::to_string(names.size() - shown) + " more)\n";
}

/// By the last look at its directory.
bool is_generation_of_now(const TagFiles& files) {
    const auto snapshot = files.directory()->current();
    return !snapshot || (*snapshot)->generation.get() == &files.generation();
}

class VirtualFileNode final : public Node {
 public:
    VirtualFileNode(const MountTree& mount, StandingView standing, std::size_t index)
        : mount_(mount), standing_(std::move(standing)), index_(index) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        // One that was let go of is not read again here: its directory may hold another by now. ESTALE makes the kernel
        // look the name up; whoever has the file open has its content, too.
        const auto content = standing_.files->loaded();
        if (!content || !content->view) {
            return Errno{ESTALE};
        }
        const auto found = attributes_of(mount_, standing_, *content->view, index_, inode);
        return found.ok() ? Outcome(FileAttributes{found.value, freshness}) : found.failure();
    }

    Outcome<std::vector<std::byte>> attribute(const std::string& name, const Caller& /*caller*/) override {
        return own_attribute(standing_, index_, name);
    }

    // The kernel may come here by an entry of the last second; ESTALE makes it look the name up again. The stamps are
    // taken anew, since whoever opens after a save wants what was saved.
    Outcome<OpenedBytes> open() override {
        const TagFiles& files = *standing_.files;
        if (!is_generation_of_now(files)) {
            return Errno{ESTALE};
        }
        if (standing_.holder && !is_current_tag_of(*standing_.holder, files.generation())) {
            return Errno{ESTALE};
        }
        const auto content = files.content();
        if (!content->view) {
            return Errno{ESTALE};
        }
        auto opened = open_file(standing_, content, index_);
        return is_current(files, *content, opened) ? std::move(opened) : Outcome<OpenedBytes>(Errno{ESTALE});
    }

 private:
    const MountTree& mount_;
    StandingView standing_;
    std::size_t index_;
};

/// A directory of a view. Lookups in it answer with what is there now, also where this inode belongs to a generation
/// that is gone.
class ViewDirectoryNode final : public Node {
 public:
    ViewDirectoryNode(MountTree& mount, StandingView standing, std::string path, std::uint64_t parent)
        : mount_(mount), standing_(std::move(standing)), path_(std::move(path)), parent_(parent) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        const auto& path = standing_.files->directory()->path();
        const auto info = mount_.source().stat(path);
        if (!info) {
            return answer_of_source(info.error());
        }
        const auto reached = mount_.as_reached(path, *info);
        if (!reached) {
            return answer(reached.error());
        }
        return FileAttributes{passed_through_attributes(*reached, inode), freshness};
    }

    Outcome<LookedUpEntry> lookup(std::uint64_t inode, std::string_view name) override {
        const auto now = standing_now();
        if (!now.ok()) {
            return now.failure();
        }
        const StandingView& standing = now.value.first;
        const auto content = standing.files->content();
        const std::string path = join_path(path_, name);
        if (content->view) {
            auto found = view_entry(mount_, standing, path, now.value.second, inode);
            return found ? *found : Errno{ENOENT};
        }
        const auto names = unshown_names();
        if (std::find(names.begin(), names.end(), path) == names.end()) {
            if (ViewDirectories(names).find(path) != nullptr) {
                return view_directory_entry(mount_, standing, path, now.value.second, inode);
            }
            return names.empty() ? standing.files->refuse() : Errno{ENOENT};
        }
        const auto& tag = standing.files->directory()->path();
        const auto info = mount_.source().stat(tag);
        if (!info) {
            return answer_of_source(info.error());
        }
        return unshown_entry(mount_, standing.files->request(), join_path(standing.place, path), *info,
                             standing.files->generation().signature(), unshown(standing.files));
    }

    Outcome<Listing> list() override {
        const auto now = standing_now();
        if (!now.ok()) {
            return now.failure();
        }
        const StandingView& standing = now.value.first;
        const auto content = standing.files->content();
        Listing listing;
        listing.parent_inode = parent_;
        auto entries = std::make_shared<std::vector<DirectoryEntry>>();
        if (content->view) {
            list_view(mount_, standing, path_, *entries, listing);
        } else {
            const ViewDirectories directories(unshown_names());
            const auto* found = directories.find(path_);
            if (found == nullptr || found->empty()) {
                return standing.files->refuse();
            }
            for (const ViewEntry& entry : *found) {
                entries->push_back({entry.name, entry.file ? FileType::regular : FileType::directory});
            }
        }
        listing.entries = std::move(entries);
        return listing;
    }

 private:
    // At the tag's generation of now, and how long that holds.
    Outcome<std::pair<StandingView, Lifetime>> standing_now() {
        const auto& directory = standing_.files->directory();
        if (!mount_.is_still_in_place(directory->path())) {
            return Errno{ESTALE};
        }
        const auto snapshot = directory->current();
        if (!snapshot) {
            return answer_of_source(snapshot.error());
        }
        const auto& generation = (*snapshot)->generation;
        if (!generation) {
            return Errno{ESTALE};
        }
        StandingView now = standing_;
        if (generation.get() != &standing_.files->generation()) {
            now.files = generation->files_for(standing_.files->request(), directory);
        }
        return std::pair(std::move(now), remaining((*snapshot)->checked_at, mount_.tree().now()));
    }
    [[nodiscard]] std::vector<std::string> unshown_names() const {
        return mount_.reader().names_of_unshown(standing_.files->request());
    }

    MountTree& mount_;
    StandingView standing_;
    std::string path_;
    std::uint64_t parent_;
};

class UnshownFileNode final : public Node {
 public:
    UnshownFileNode(const FileInfo& info, Unshown unshown) : info_(info), unshown_(std::move(unshown)) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        return FileAttributes{virtual_attributes(info_, inode, 0), freshness};
    }
    Outcome<OpenedBytes> open() override {
        if (!unshown_.is_current()) {
            return Errno{ESTALE};
        }
        return unshown_.refuse();
    }

 private:
    FileInfo info_;
    Unshown unshown_;
};

}  // namespace

bool is_current(const TagFiles& files) {
    if (!is_generation_of_now(files)) {
        return false;
    }
    if (!files.generation().is_current()) {
        files.directory()->expire();
        return false;
    }
    return true;
}

bool is_current(const TagFiles& files, const TagFiles::Content& content, const Outcome<OpenedBytes>& opened) {
    if (!is_generation_of_now(files)) {
        return false;
    }
    if (!files.generation().is_current_for(*content.tag, opened.ok() ? opened.value.file.get() : nullptr)) {
        files.directory()->expire();
        return false;
    }
    return true;
}

Unshown unshown(const std::shared_ptr<const TagFiles>& files) {
    return {.refuse = [files] { return files->refuse(); }, .is_current = [files] { return is_current(*files); }};
}

Outcome<FileInfo> info_of(const MountTree& mount, const StandingView& standing, const View& view, std::size_t index) {
    const auto passages = passages_of(mount, standing);
    if (!passages) {
        return answer(passages.error());
    }
    return restricted(view.file_info(index), *passages);
}

Outcome<std::vector<std::byte>> own_attribute(const StandingView& standing, std::size_t index, std::string_view name) {
    if (name == generation_attribute) {
        return to_bytes(text_of_generation(standing.files->generation().signature()));
    }
    if (name != sources_attribute) {
        return Errno{ENODATA};
    }
    const auto content = standing.files->content();
    if (!content->view) {
        return Errno{ESTALE};
    }
    const auto file = content->view->open(index);
    return file ? Outcome(to_bytes(lines_of((*file)->source_names()))) : answer(file.error());
}

Outcome<OpenedBytes> open_file(const StandingView& standing, const std::shared_ptr<const TagFiles::Content>& content,
                               std::size_t index) {
    const View& view = *content->view;
    const auto& directory = standing.files->directory();
    auto file = view.open(index);
    if (!file) {
        if (file.error().code() == ErrorCode::stale) {
            directory->expire();
        }
        return answer(file.error());
    }
    return OpenedBytes{.file = std::move(file).value(),
                       .directory = directory,
                       .read_once = view.read_once(index),
                       .content = content};
}

IdentityHasher identity_of_files(const MountTree& mount, const StandingView& standing) {
    return mount.identity_of(standing.files->request(), standing.place)
        .add(number(NodeKind::virtual_file))
        .add(standing.files->generation().signature());
}

std::optional<Outcome<LookedUpEntry>> view_entry(MountTree& mount, const StandingView& standing, std::string_view path,
                                                 Lifetime lifetime, std::uint64_t parent) {
    const auto content = standing.files->content();
    if (!content->view) {
        return Errno{ESTALE};
    }
    if (const auto index = content->view->find(path)) {
        return view_file_entry(mount, standing, *index, path, lifetime);
    }
    const ViewDirectories* directories = content->view->directories();
    if (directories == nullptr || directories->find(path) == nullptr) {
        return std::nullopt;
    }
    return view_directory_entry(mount, standing, path, lifetime, parent);
}

Outcome<LookedUpEntry> view_file_entry(MountTree& mount, const StandingView& standing, std::size_t index,
                                       std::string_view name, Lifetime lifetime) {
    const auto content = standing.files->content();
    if (!content->view) {
        return Errno{ESTALE};
    }
    const auto attributes = attributes_of(mount, standing, *content->view, index, unknown_inode);
    if (!attributes.ok()) {
        return attributes.failure();
    }
    const auto identity = identity_of_files(mount, standing).add(name).identity();
    LookedUpEntry entry;
    entry.attributes = attributes.value;
    // Of the generation of now: one that was read of the same files before another took its place is not current again.
    entry.attributes.inode = mount.inodes().renew(identity, std::make_shared<VirtualFileNode>(mount, standing, index));
    // Not for ever, though name and inode stay together within a generation: the way to the directory may be an old
    // handle or working directory, which nothing else makes the kernel ask about again.
    entry.entry_lifetime = lifetime;
    entry.attributes_lifetime = freshness;
    return entry;
}

Outcome<LookedUpEntry> view_directory_entry(MountTree& mount, const StandingView& standing, std::string_view path,
                                            Lifetime lifetime, std::uint64_t parent) {
    const auto identity = mount.identity_of(standing.files->request(), join_path(standing.place, path))
                              .add(number(NodeKind::view_directory))
                              .add(standing.files->generation().signature())
                              .identity();
    auto node = std::make_shared<ViewDirectoryNode>(mount, standing, std::string(path), parent);
    const auto attributes = node->attributes(unknown_inode);
    if (!attributes.ok()) {
        return attributes.failure();
    }
    LookedUpEntry entry;
    entry.attributes = attributes.value.attributes;
    entry.attributes.inode = mount.inodes().remember(identity, std::move(node));
    entry.entry_lifetime = lifetime;
    entry.attributes_lifetime = freshness;
    return entry;
}

void list_view(const MountTree& mount, const StandingView& standing, std::string_view path,
               std::vector<DirectoryEntry>& entries, Listing& listing) {
    const auto content = standing.files->content();
    if (!content->view) {
        return;
    }
    const ViewDirectories* directories = content->view->directories();
    if (directories == nullptr) {
        listing.view = content->view;
        listing.view_identity = identity_of_files(mount, standing);
        return;
    }
    if (const auto* found = directories->find(path)) {
        for (const ViewEntry& entry : *found) {
            entries.push_back({entry.name, entry.file ? FileType::regular : FileType::directory});
        }
    }
}

Outcome<LookedUpEntry> unshown_entry(MountTree& mount, const ViewRequest& request, const std::string& place,
                                     FileInfo info, std::uint64_t signature, Unshown unshown) {
    constexpr std::uint32_t read_bits = 0444;
    info.mode &= read_bits;
    const auto identity =
        mount.identity_of(request, place).add(number(NodeKind::unshown_file)).add(signature).identity();
    LookedUpEntry entry;
    entry.attributes = virtual_attributes(info, unknown_inode, 0);
    entry.attributes.inode =
        mount.inodes().renew(identity, std::make_shared<UnshownFileNode>(info, std::move(unshown)));
    entry.entry_lifetime = freshness;
    entry.attributes_lifetime = freshness;
    return entry;
}

}  // namespace ckptfs
