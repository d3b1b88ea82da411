// Inodes, and handles of what is open.
#include "fs/implementation.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/catalogue.h"
#include "fs/mirrored_directory.h"
#include "fs/writable_directory.h"
#include "util/free_memory.h"
#include "util/log.h"
#include "util/own_names.h"

namespace ckptfs {
namespace {

constexpr std::size_t longest_name_nbytes = 255;
constexpr std::uint64_t dot_entries = 2;

}  // namespace

FileSystem::Implementation::Implementation(std::shared_ptr<SourceTree> tree, const FileSystemOptions& options)
    : read_ahead_(options.read_ahead),
      tree_(std::move(tree)),
      mount_(tree_, options.request.has_value(), options.source_name),
      lists_suggestions_(!options.request),
      reclaimer_(MemoryBudget::of_process(), [this] { static_cast<void>(tree_->known_tags().let_go()); }) {
    if (options.writer) {
        writable_ = std::make_unique<WritableMount>(mount_, *options.request, options.writer, options.in_place);
        root_ = std::make_shared<WritableDirectory>(*writable_);
    } else if (options.request) {
        root_ = std::make_shared<MirroredDirectory>(mount_, tree_->directory(""), *options.request, root_inode,
                                                    mount_.source_root());
    } else {
        root_ = std::make_shared<CatalogueNode>(mount_, options.catalogue_entries);
    }
    if (!options.own_files.files.empty()) {
        own_.emplace(mount_, options.own_files, [this] { return state(); });
    }
}

void FileSystem::Implementation::adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag) {
    adopt_as_current(directory, tag);
    if (lists_suggestions_) {
        tree_->known_tags().note_read(tag);
        static_cast<void>(tree_->known_tags().suggestions());  // now: nothing may keep this tag
    }
}

void FileSystem::Implementation::adopt_as_current(const std::string& directory, const std::shared_ptr<const Tag>& tag) {
    const auto path = tree_->source().resolve(directory);
    if (!path) {
        return;
    }
    auto source = tree_->directory(*path);
    const auto snapshot = source->current();
    if (!snapshot || !(*snapshot)->generation) {
        return;
    }
    (*snapshot)->generation->adopt(tag);
    adopted_generation_ = (*snapshot)->generation;
    adopted_ = std::move(source);
}

void FileSystem::Implementation::refresh() {
    tree_->source().refresh();
    tree_->expire();
}

void FileSystem::Implementation::tidy() {
    tree_->source().refresh();
    tree_->source().release_unused();
    if (read_ahead_) {
        read_ahead_->release_idle();
    }
    const bool has_let_go = tree_->known_tags().forget_removed(files_.size() > 0);
    // Reading a tag takes several times what is left of it.
    if (const auto read = tree_->known_tags().generations_read(); has_let_go || read != trimmed_after_) {
        trimmed_after_ = read;
        give_back_free_memory();
    }
    if (writable_) {
        writable_->tags().tidy();
    }
    if (adopted_ && (adopted_->last_generation() != adopted_generation_.lock() ||
                     !tree_->known_tags().is_loaded(adopted_generation_))) {
        adopted_.reset();
    }
}

std::shared_ptr<Node> FileSystem::Implementation::node_of(std::uint64_t inode) {
    return inode == root_inode ? root_ : mount_.inodes().find(inode);
}

Outcome<LookedUpEntry> FileSystem::Implementation::lookup(std::uint64_t parent, std::string_view name) {
    const auto node = node_of(parent);
    if (!node) {
        return Errno{ESTALE};
    }
    if (is_too_long(name)) {
        return Errno{ENAMETOOLONG};  // the kernel itself refuses only what is longer than 1024
    }
    auto found = node->lookup(parent, name);
    // Where SOURCE cannot even say whether it has the name, the mount's own files say what is wrong.
    if (!found.ok() && own_ && parent == root_inode && name == own_directory_name) {
        return own_->entry();
    }
    return found;
}

Outcome<std::vector<std::byte>> FileSystem::Implementation::getxattr(std::uint64_t inode, std::string_view name,
                                                                     const Caller& caller) {
    if (own_ && inode == root_inode) {
        if (auto found = own_->attribute(name, caller)) {
            return std::move(*found);
        }
    }
    return on_node(inode, [&](Node& node) { return node.attribute(std::string(name), caller); });
}

FileSystemState FileSystem::Implementation::state() const {
    FileSystemState state{.inodes = live_inodes(),
                          .open_files = files_.size(),
                          .open_directories = directories_.size(),
                          .generations_read = tree_->known_tags().generations_read(),
                          .tags = {}};
    for (const auto& generation : tree_->known_tags().loaded()) {
        TagState tag{.path = generation->display(),
                     .generation = text_of_generation(generation->signature()),
                     .is_read = true,
                     .problem = {}};
        const auto read = generation->tag_if_read();
        tag.is_read = read != nullptr;
        if (read && read->problem() != nullptr) {
            tag.problem = read->problem()->message();
        }
        state.tags.push_back(std::move(tag));
    }
    return state;
}

Outcome<FileAttributes> FileSystem::Implementation::getattr(std::uint64_t inode) {
    const auto node = node_of(inode);
    return node ? node->attributes(inode) : Errno{ESTALE};
}

Outcome<std::string> FileSystem::Implementation::readlink(std::uint64_t inode) {
    const auto node = node_of(inode);
    return node ? node->read_link() : Errno{ESTALE};
}

Outcome<OpenedFile> FileSystem::Implementation::open(std::uint64_t inode, int flags, const Caller* caller) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    auto bytes = caller == nullptr ? node->open() : node->open_for(flags, *caller);
    if (!bytes.ok()) {
        return bytes.failure();
    }
    return insert(std::move(bytes.value));
}

Outcome<std::shared_ptr<const File>> FileSystem::Implementation::open_file(std::uint64_t inode) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    auto bytes = node->open();
    return bytes.ok() ? Outcome(std::move(bytes.value.file)) : bytes.failure();
}

OpenedFile FileSystem::Implementation::insert(OpenedBytes bytes) {
    OpenedFile file{
        .handle = 0, .read_once = bytes.read_once, .keeps_pages = bytes.keeps_pages, .is_of_now = bytes.is_of_now};
    auto opened = std::make_shared<OpenFile>();
    opened->bytes = std::move(bytes);
    if (read_ahead_ && opened->bytes.file && opened->bytes.file->size() > stream_block_nbytes) {
        // The kernel itself reads ahead what it keeps, in requests that come at the same time.
        const auto ahead = file.read_once ? Stream::Ahead::always : Stream::Ahead::if_slow;
        opened->stream.emplace(*read_ahead_, opened->bytes.file, ahead);
    }
    file.handle = files_.insert(std::move(opened));
    return file;
}

Outcome<std::size_t> FileSystem::Implementation::read(std::uint64_t handle, std::uint64_t offset,
                                                      std::span<std::byte> out) {
    const auto opened = files_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    if (opened->bytes.handle) {
        return opened->bytes.handle->read(offset, out);
    }
    const File& file = *opened->bytes.file;
    if (offset >= file.size()) {
        return std::size_t{0};
    }
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), file.size() - offset));
    const auto done = file.read(offset, out.first(length));
    return done ? Outcome(length) : failed_to_read(*opened, done.error());
}

Outcome<ReadBytes> FileSystem::Implementation::fetch(std::uint64_t handle, std::uint64_t offset,
                                                     std::span<std::byte> out, PageTarget* target) {
    const auto opened = files_.find(handle);
    if (!opened || !opened->stream) {
        const auto got = read(handle, offset, out);
        if (!got.ok()) {
            return got.failure();
        }
        ReadBytes bytes;
        bytes.add(out.first(got.value), nullptr);
        return bytes;
    }
    const std::uint64_t size = opened->bytes.file->size();
    if (offset >= size) {
        return ReadBytes{};
    }
    auto bytes = opened->stream->read(offset, out.first(std::min<std::uint64_t>(out.size(), size - offset)),
                                      opened->may_be_handed_over ? target : nullptr);
    if (!bytes) {
        return failed_to_read(*opened, bytes.error());
    }
    if (bytes->handed_over) {
        bytes->holders.front() = opened;  // the file may be closed as soon as they have gone on
    }
    return std::move(bytes).value();
}

void FileSystem::Implementation::let_hand_over(std::uint64_t handle) {
    if (const auto opened = files_.find(handle)) {
        opened->may_be_handed_over = true;
    }
}

OpenDescriptor FileSystem::Implementation::whole_file(std::uint64_t handle) {
    const auto opened = files_.find(handle);
    if (!opened) {
        return {};
    }
    if (opened->bytes.handle) {
        return {opened->bytes.handle->descriptor(), opened->bytes.handle};
    }
    // What is written through the mount is found under another inode, which the kernel would not know to be the same.
    return writable_ ? OpenDescriptor{} : opened->bytes.file->whole_file();
}

Errno FileSystem::Implementation::failed_to_read(OpenFile& opened, const Error& error) {
    const bool stale = error.code() == ErrorCode::stale;
    if (stale && opened.bytes.directory) {
        opened.bytes.directory->expire();
    }
    if (!opened.reported.exchange(true)) {  // a reader that tries again would fill the log
        stale ? log::info(error.message()) : log::error(error.message());
    }
    return Errno{errno_of(error)};
}

Outcome<std::uint64_t> FileSystem::Implementation::opendir(std::uint64_t inode) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    auto listing = node->list();
    if (!listing.ok()) {
        return listing.failure();
    }
    auto opened = std::make_shared<OpenDirectory>();
    opened->inode = inode;
    opened->listing = std::move(listing.value);
    return directories_.insert(std::move(opened));
}

Outcome<bool> FileSystem::Implementation::readdir(std::uint64_t handle, std::uint64_t offset,
                                                  const std::function<bool(const ListedEntry&)>& take) {
    const auto opened = directories_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    const Listing& listing = opened->listing;
    const auto& entries = *listing.entries;
    const View* view = listing.view.get();
    const auto is_unknown = [&](FileType type) {
        return type == FileType::symlink || (type == FileType::directory && listing.directories_may_be_files);
    };
    const std::uint64_t view_start = dot_entries + entries.size();
    const std::uint64_t end = view_start + (view != nullptr ? view->file_count() : 0);
    for (std::uint64_t at = offset; at < end; ++at) {
        ListedEntry entry;
        entry.next_offset = at + 1;
        std::string view_name;
        if (at < dot_entries) {
            entry.name = at == 0 ? "." : "..";
            entry.inode = at == 0 ? opened->inode : listing.parent_inode;
            entry.type = FileType::directory;
        } else if (at < view_start) {
            entry.name = entries[at - dot_entries].name.c_str();
            const FileType type = entries[at - dot_entries].type;
            entry.type = is_unknown(type) ? std::nullopt : std::optional(type);
        } else {
            view_name = view->file_name(at - view_start);
            entry.name = view_name.c_str();
            entry.inode = preferred_inode(IdentityHasher(listing.view_identity).add(view_name).identity());
            entry.type = FileType::regular;
        }
        if (!take(entry)) {
            return true;
        }
    }
    return true;
}

bool FileSystem::Implementation::is_too_long(std::string_view name) {
    return name.size() > longest_name_nbytes;
}

std::shared_ptr<const SourceHandle> FileSystem::Implementation::source_handle(std::uint64_t handle) const {
    const auto opened = files_.find(handle);
    return opened ? opened->bytes.handle : nullptr;
}

Outcome<CreatedFile> FileSystem::Implementation::create(std::uint64_t parent, std::string_view name, int flags,
                                                        std::uint32_t mode, const Caller& caller) {
    auto created = on_node(parent, name, [&](Node& node) { return node.create(parent, name, flags, mode, caller); });
    if (!created.ok()) {
        return created.failure();
    }
    return CreatedFile{created.value.entry, insert(std::move(created.value.bytes))};
}

Outcome<Done> FileSystem::Implementation::rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                                                 std::string_view new_name, unsigned flags, const Caller& caller) {
    const auto target = node_of(new_parent);
    if (!target) {
        return Errno{ESTALE};
    }
    if (is_too_long(new_name)) {
        return Errno{ENAMETOOLONG};
    }
    if (own_ && new_parent == root_inode && new_name == own_directory_name) {
        const auto sources = target->lookup(new_parent, new_name);
        if (!sources.ok()) {
            return Errno{EEXIST};  // the kernel asks for no more than a file to take the place of
        }
        forget(sources.value.attributes.inode, 1);
    }
    return on_node(parent, name,
                   [&](Node& node) { return node.rename(parent, name, *target, new_parent, new_name, flags, caller); });
}

Outcome<LookedUpEntry> FileSystem::Implementation::link(std::uint64_t inode, std::uint64_t parent,
                                                        std::string_view name, const Caller& caller) {
    const auto existing = node_of(inode);
    if (!existing) {
        return Errno{ESTALE};
    }
    return on_node(parent, name, [&](Node& node) { return node.make_link(parent, name, *existing, caller); });
}

Outcome<FileAttributes> FileSystem::Implementation::setattr(std::uint64_t inode, std::optional<std::uint64_t> handle,
                                                            const AttributeChange& change, const Caller& caller) {
    const auto opened = handle ? source_handle(*handle) : nullptr;
    return on_node(inode, [&](Node& node) { return node.change(inode, opened.get(), change, caller); });
}

Outcome<std::size_t> FileSystem::Implementation::write(std::uint64_t handle, std::optional<std::uint64_t> offset,
                                                       std::span<const std::byte> data, const Caller& caller) {
    const auto opened = source_handle(handle);
    return opened ? opened->write(offset, data, caller) : Errno{EBADF};
}

Outcome<Done> FileSystem::Implementation::flush(std::uint64_t handle) {
    const auto opened = files_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    if (opened->bytes.handle) {
        return opened->bytes.handle->flush();
    }
    const auto settled = opened->stream ? opened->stream->settle() : Result<void>();
    return settled ? Outcome<Done>(Done{}) : failed_to_read(*opened, settled.error());
}

Outcome<Done> FileSystem::Implementation::fsync(std::uint64_t handle, bool data_only) {
    const auto opened = source_handle(handle);
    return opened ? opened->sync(data_only) : Outcome<Done>(Done{});
}

Outcome<Done> FileSystem::Implementation::fsyncdir(std::uint64_t handle, bool data_only) {
    const auto opened = directories_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    return on_node(opened->inode, [&](Node& node) { return node.sync_directory(data_only); });
}

Outcome<Done> FileSystem::Implementation::fallocate(std::uint64_t handle, int mode, std::uint64_t offset,
                                                    std::uint64_t nbytes, const Caller& caller) {
    const auto opened = source_handle(handle);
    return opened ? opened->allocate(mode, offset, nbytes, caller) : Errno{EROFS};
}

Outcome<std::uint64_t> FileSystem::Implementation::lseek(std::uint64_t handle, std::uint64_t offset, int whence) {
    const auto opened = files_.find(handle);
    if (!opened) {
        return Errno{EBADF};
    }
    if (opened->bytes.handle) {
        return opened->bytes.handle->seek(offset, whence);
    }
    const std::uint64_t size = opened->bytes.file->size();
    if (offset >= size) {
        return Errno{ENXIO};
    }
    return whence == SEEK_HOLE ? size : offset;
}

Outcome<std::size_t> FileSystem::Implementation::copy_file_range(std::uint64_t handle, std::uint64_t offset,
                                                                 std::uint64_t target_handle,
                                                                 std::uint64_t target_offset, std::size_t nbytes,
                                                                 const Caller& caller) {
    const auto target = source_handle(target_handle);
    if (!target) {
        return Errno{EBADF};
    }
    const auto opened = source_handle(handle);
    // EOPNOTSUPP: the kernel copies by reading and writing.
    return opened ? opened->copy_to(offset, *target, target_offset, nbytes, caller) : Errno{EOPNOTSUPP};
}

Outcome<SourceStatistics> FileSystem::Implementation::statfs() const {
    auto found = tree_->source().statistics();
    return found ? Outcome(std::move(found).value()) : answer(found.error());
}

}  // namespace ckptfs
