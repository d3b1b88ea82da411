// Open files and directory listings.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/implementation.h"
#include "fs/world_size_name.h"
#include "util/log.h"

namespace ckptfs {
namespace {

constexpr std::uint64_t dot_entries = 2;

std::vector<DirectoryEntry> world_size_entries(const std::vector<std::uint64_t>& world_sizes) {
    std::vector<DirectoryEntry> entries;
    entries.reserve(world_sizes.size());
    for (const auto world_size : world_sizes) {
        entries.push_back({world_size_name(world_size), FileType::directory});
    }
    return entries;
}

// What a tag directory shows beside the files of its view. Shards of a broken tag are always regular files: behind a
// symbolic link their bytes could be reached.
std::vector<DirectoryEntry> entries_beside_view(const std::vector<DirectoryEntry>& all,
                                                const TagFiles::Content& content) {
    std::vector<DirectoryEntry> entries;
    for (const auto& entry : all) {
        const bool shard = content.shards.contains(entry.name);
        if (content.view == nullptr) {
            entries.push_back({entry.name, shard ? FileType::regular : entry.type});
        } else if (!shard && !content.view->find(entry.name)) {
            entries.push_back(entry);
        }
    }
    return entries;
}

}  // namespace

Outcome<OpenedFile> FileSystem::Implementation::open(std::uint64_t inode) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    if (const auto* file = std::get_if<VirtualFileNode>(&*node)) {
        return open_virtual(*file);
    }
    if (const auto* passed = std::get_if<std::shared_ptr<const PassedThrough>>(&*node)) {
        return open_passed_through(**passed);
    }
    return Errno{EISDIR};
}

Outcome<OpenedFile> FileSystem::Implementation::open_virtual(const VirtualFileNode& node) {
    // The kernel may come here by an entry of the last second; ESTALE makes it look the name up again. The stamps are
    // taken anew, since whoever opens after a save wants what was saved.
    const auto snapshot = node.files->directory()->current();
    if (snapshot && (*snapshot)->generation.get() != &node.files->generation()) {
        return Errno{ESTALE};
    }
    if (!node.files->generation().is_current()) {
        node.files->directory()->expire();
        return Errno{ESTALE};
    }
    const auto content = node.files->content();
    if (!content->view) {
        return Errno{ESTALE};
    }
    const View& view = *content->view;
    auto file = view.open(node.index);
    if (!file) {
        if (file.error().code() == ErrorCode::stale) {
            node.files->directory()->expire();
        }
        return answer(file.error());
    }
    auto opened = std::make_shared<OpenFile>();
    opened->file = std::move(file).value();
    opened->directory = node.files->directory();
    return OpenedFile{files_.insert(std::move(opened)), view.read_once(node.index)};
}

Outcome<OpenedFile> FileSystem::Implementation::open_passed_through(const PassedThrough& node) {
    if (node.broken) {
        node.broken->report_problem();
        return Errno{EIO};
    }
    if (node.info.type == FileType::symlink) {
        return Errno{ELOOP};
    }
    if (node.info.type != FileType::regular) {
        return Errno{ENXIO};
    }
    // ESTALE makes the kernel look the name up again: an inode of several hard links may have been found by one that is
    // gone.
    const auto gone = [&](const Error& error) {
        node.directory->expire();
        return error.code() == ErrorCode::not_found ? Errno{ESTALE} : answer_of_source(error);
    };
    auto file = tree_->source().open(node.path);
    if (!file) {
        return gone(file.error());
    }
    // Had another generation been opened, its bytes would end in the pages of this inode. Asked after opening, since a
    // generation that is there now was there then.
    const auto now = tree_->source().stat(node.path);
    if (!now) {
        return gone(now.error());
    }
    if (now->stamp != node.info.stamp) {
        node.directory->expire();
        return Errno{ESTALE};
    }
    auto opened = std::make_shared<OpenFile>();
    opened->file = std::move(file).value();
    opened->directory = node.directory;
    return OpenedFile{files_.insert(std::move(opened)), false};
}

Outcome<std::size_t> FileSystem::Implementation::read(std::uint64_t handle, std::uint64_t offset,
                                                      std::span<std::byte> out) {
    const auto opened = files_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    const auto size = opened->file->size();
    if (offset >= size) {
        return std::size_t{0};
    }
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size - offset));
    const auto done = opened->file->read(offset, out.first(length));
    if (done) {
        return length;
    }
    const bool stale = done.error().code() == ErrorCode::stale;
    if (stale) {
        opened->directory->expire();
    }
    if (!opened->reported.exchange(true)) {  // a reader that tries again would fill the log
        stale ? log::info(done.error().message()) : log::error(done.error().message());
    }
    return Errno{errno_of(done.error())};
}

Outcome<std::uint64_t> FileSystem::Implementation::opendir(std::uint64_t inode) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    auto opened = std::make_shared<OpenDirectory>();
    opened->inode = inode;
    opened->parent_inode = root_inode;
    if (std::holds_alternative<WorldSizeListing>(*node)) {
        opened->entries = std::make_shared<const std::vector<DirectoryEntry>>(world_size_entries(tree_->world_sizes()));
        return directories_.insert(std::move(opened));
    }
    const auto* held = std::get_if<std::shared_ptr<MirroredDirectory>>(&*node);
    if (held == nullptr) {
        return Errno{ENOTDIR};
    }
    MirroredDirectory& directory = **held;
    if (!is_still_in_place(directory)) {
        return Errno{ESTALE};
    }
    const auto snapshot = directory.source()->current();
    if (!snapshot) {
        return answer_of_source(snapshot.error());
    }
    opened->parent_inode = directory.parent_inode();
    const auto& generation = (*snapshot)->generation;
    if (!generation) {
        opened->entries = {*snapshot, &(*snapshot)->entries};
        return directories_.insert(std::move(opened));
    }
    const auto content = directory.files(generation)->content();
    opened->entries =
        std::make_shared<const std::vector<DirectoryEntry>>(entries_beside_view((*snapshot)->entries, *content));
    if (content->view) {
        opened->view = content->view;
        opened->identity = identity_of_files(directory, *generation);
    }
    return directories_.insert(std::move(opened));
}

Outcome<bool> FileSystem::Implementation::readdir(std::uint64_t handle, std::uint64_t offset,
                                                  const std::function<bool(const ListedEntry&)>& take) {
    const auto opened = directories_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    const auto& entries = *opened->entries;
    const View* view = opened->view.get();
    const std::uint64_t view_start = dot_entries + entries.size();
    const std::uint64_t end = view_start + (view != nullptr ? view->file_count() : 0);
    for (std::uint64_t at = offset; at < end; ++at) {
        ListedEntry entry;
        entry.next_offset = at + 1;
        std::string view_name;
        if (at < dot_entries) {
            entry.name = at == 0 ? "." : "..";
            entry.inode = at == 0 ? opened->inode : opened->parent_inode;
            entry.type = FileType::directory;
        } else if (at < view_start) {
            entry.name = entries[at - dot_entries].name.c_str();
            const FileType type = entries[at - dot_entries].type;
            entry.type = type == FileType::symlink ? std::nullopt : std::optional(type);
        } else {
            view_name = view->file_name(at - view_start);
            entry.name = view_name.c_str();
            entry.inode = preferred_inode(IdentityHasher(opened->identity).add(view_name).identity());
            entry.type = FileType::regular;
        }
        if (!take(entry)) {
            return true;
        }
    }
    return true;
}

}  // namespace ckptfs
