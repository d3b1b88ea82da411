// Names to inodes and attributes.
#include "fs/implementation.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "fs/attributes.h"
#include "fs/world_size_name.h"
#include "util/log.h"
#include "util/path.h"

namespace ckptfs {
namespace {

constexpr std::size_t longest_name_nbytes = 255;

// What a user without the right, or with a wrong name, is answered: nothing is broken, and anybody could fill the log.
bool is_everyday(int reason) {
    constexpr std::array<int, 5> everyday{EACCES, EPERM, ENAMETOOLONG, ENOTDIR, ELOOP};
    return std::find(everyday.begin(), everyday.end(), reason) != everyday.end();
}

}  // namespace

Errno answer(const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::stale) {
        log::error(error.message());
    }
    return Errno{errno_of(error)};
}

Errno answer_of_source(const Error& error) {
    return is_everyday(error.system_errno()) ? Errno{errno_of(error)} : answer(error);
}

FileSystem::Implementation::Implementation(std::shared_ptr<SourceTree> tree, const FileSystemOptions& options,
                                           int statistics_descriptor)
    : tree_(std::move(tree)),
      world_size_(options.world_size),
      source_path_(options.source_path),
      statistics_descriptor_(statistics_descriptor) {
    if (world_size_) {
        root_ = std::make_shared<MirroredDirectory>(tree_->directory(""), *world_size_, root_inode, source_root_);
    }
}

FileSystem::Implementation::~Implementation() {
    ::close(statistics_descriptor_);
}

void FileSystem::Implementation::adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag) {
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

void FileSystem::Implementation::tidy() {
    tree_->source().refresh();
    tree_->source().release_unused();
    tree_->forget_removed_tags();
    if (adopted_ &&
        (adopted_->last_generation() != adopted_generation_.lock() || !tree_->is_loaded(adopted_generation_))) {
        adopted_.reset();
    }
}

std::optional<Node> FileSystem::Implementation::node_of(std::uint64_t inode) const {
    return inode == root_inode ? std::optional(root_) : inodes_.find(inode);
}

IdentityHasher FileSystem::Implementation::identity_of(std::uint64_t world_size, std::string_view path) const {
    IdentityHasher hasher;
    hasher.add(world_size_ ? 0 : world_size).add(path);
    return hasher;
}

IdentityHasher FileSystem::Implementation::identity_of_files(const MirroredDirectory& directory,
                                                             const TagGeneration& generation) const {
    return identity_of(directory.world_size(), directory.place())
        .add(number(Kind::virtual_file))
        .add(generation.signature());
}

Outcome<LookedUpEntry> FileSystem::Implementation::lookup(std::uint64_t parent, std::string_view name) {
    const auto node = node_of(parent);
    if (!node) {
        return Errno{ESTALE};
    }
    if (name.size() > longest_name_nbytes) {
        return Errno{ENAMETOOLONG};  // the kernel itself refuses only what is longer than 1024
    }
    if (std::holds_alternative<WorldSizeListing>(*node)) {
        return lookup_world_size(name);
    }
    if (const auto* directory = std::get_if<std::shared_ptr<MirroredDirectory>>(&*node)) {
        return lookup_in(**directory, parent, name);
    }
    return Errno{ENOTDIR};
}

Outcome<LookedUpEntry> FileSystem::Implementation::lookup_world_size(std::string_view name) {
    const auto world_size = parse_world_size_name(name);
    if (!world_size) {
        return Errno{ENOENT};
    }
    const auto info = tree_->source().stat("");
    if (!info) {
        return answer_of_source(info.error());
    }
    const auto reached = as_reached("", *info);
    if (!reached) {
        return answer(reached.error());
    }
    return directory_entry("", *world_size, root_inode, *reached, source_root_);
}

Outcome<LookedUpEntry> FileSystem::Implementation::lookup_in(MirroredDirectory& directory, std::uint64_t inode,
                                                             std::string_view name) {
    if (!is_still_in_place(directory)) {
        return Errno{ESTALE};
    }
    const auto snapshot = directory.source()->current();
    if (!snapshot) {
        return answer_of_source(snapshot.error());
    }
    const auto path = directory.source()->child(name);
    if (const auto& generation = (*snapshot)->generation) {
        const auto files = directory.files(generation);
        const auto content = files->content();
        if (content->view) {
            if (const auto index = content->view->find(name)) {
                return virtual_entry(directory, files, *index, name, remaining((*snapshot)->checked_at, tree_->now()));
            }
        }
        if (content->shards.contains(name)) {
            return content->view ? Errno{ENOENT} : broken_shard_entry(directory, files, name);
        }
    }
    // Only what has been listed is shown: the listing is what tells shards from other files.
    const auto* listed = (*snapshot)->find(name);
    if (listed == nullptr) {
        return Errno{ENOENT};
    }
    if (directory.root()->outer && listed->type == FileType::directory) {
        // Outside SOURCE there may be mount points, this mount's own among them.
        const auto real = tree_->source().resolve(path);
        if (!real && real.error().code() == ErrorCode::unsupported) {
            report_link_once(path, real.error().message());
            return Errno{ELOOP};
        }
    }
    const auto info = tree_->source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (info->type == FileType::symlink) {
        return link_entry(directory, inode, name, *info);
    }
    const auto granted = as_granted(path, *info);
    if (!granted) {
        return answer(granted.error());
    }
    if (info->type == FileType::directory) {
        return directory_entry(path, directory.world_size(), inode, *granted, directory.root());
    }
    return passed_through_entry(directory, name, path, *granted, nullptr);
}

bool FileSystem::Implementation::is_still_in_place(const MirroredDirectory& directory) const {
    if (!tree_->allows_others()) {
        return true;
    }
    const auto& path = directory.source()->path();
    const auto real = tree_->source().resolve(path);
    return real.ok() && *real == path;
}

Result<FileInfo> FileSystem::Implementation::as_granted(const std::string& path, FileInfo info) const {
    CKPTFS_ASSIGN(info.mode, tree_->source().granted_mode(path, info));
    return info;
}

Result<std::vector<Permissions>> FileSystem::Implementation::passages_to(const ShownRoot& root) const {
    return root.lone_file.empty() ? std::vector<Permissions>() : tree_->passages_to(root.lone_file);
}

Result<FileInfo> FileSystem::Implementation::as_reached(const std::string& path, const FileInfo& info) const {
    CKPTFS_ASSIGN(const FileInfo granted, as_granted(path, info));
    CKPTFS_ASSIGN(const auto passages, tree_->passages_to(path));
    return restricted(granted, passages);
}

Outcome<LookedUpEntry> FileSystem::Implementation::directory_entry(const std::string& path, std::uint64_t world_size,
                                                                   std::uint64_t parent, const FileInfo& info,
                                                                   std::shared_ptr<const ShownRoot> root) {
    auto source = tree_->directory(path);
    const auto snapshot = source->current();
    if (!snapshot && snapshot.error().code() == ErrorCode::not_found) {
        return Errno{ENOENT};
    }
    // A directory that cannot be listed can still be seen, as in the source.
    const auto generation = snapshot ? (*snapshot)->generation : nullptr;
    auto hasher = identity_of(world_size, root->place_of(path)).add(number(Kind::directory));
    if (generation) {
        hasher.add(generation->signature());
    } else {
        hasher.add(info.stamp.device).add(info.stamp.inode);
    }
    const auto inode = inodes_.remember(
        hasher.identity(), std::make_shared<MirroredDirectory>(std::move(source), world_size, parent, std::move(root)));

    LookedUpEntry entry;
    entry.attributes = passed_through_attributes(info, inode);
    entry.entry_lifetime = snapshot ? remaining((*snapshot)->checked_at, tree_->now()) : Lifetime{freshness};
    entry.attributes_lifetime = freshness;
    return entry;
}

Outcome<LookedUpEntry> FileSystem::Implementation::passed_through_entry(const MirroredDirectory& directory,
                                                                        std::string_view name, const std::string& path,
                                                                        const FileInfo& info,
                                                                        std::shared_ptr<const TagFiles> broken) {
    const auto passages = passages_to(*directory.root());
    if (!passages) {
        return answer(passages.error());
    }
    auto node = std::make_shared<PassedThrough>();
    node->directory = directory.source();
    node->path = path;
    node->info = restricted(info, *passages);
    node->broken = std::move(broken);
    // Hard links are one file: programs that copy a tree find them by their common inode.
    const bool linked = info.nlink > 1 && !node->broken;
    const auto identity = identity_of(directory.world_size(), linked ? "" : join_path(directory.place(), name))
                              .add(number(node->broken ? Kind::broken_shard : Kind::passed_through))
                              .add(info.stamp)
                              .add(node->info.uid)
                              .add(node->info.gid)
                              .add(node->info.mode)
                              .identity();
    LookedUpEntry entry;
    const FileInfo shown = node->info;
    const auto inode = inodes_.remember(identity, std::shared_ptr<const PassedThrough>(std::move(node)));
    entry.attributes = passed_through_attributes(shown, inode);
    entry.entry_lifetime = freshness;
    entry.attributes_lifetime = freshness;
    return entry;
}

Outcome<LookedUpEntry> FileSystem::Implementation::broken_shard_entry(const MirroredDirectory& directory,
                                                                      const std::shared_ptr<const TagFiles>& files,
                                                                      std::string_view name) {
    const auto path = directory.source()->child(name);
    const auto info = tree_->source().stat_target(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    return passed_through_entry(directory, name, path, *info, files);
}

Outcome<LookedUpEntry> FileSystem::Implementation::virtual_entry(const MirroredDirectory& directory,
                                                                 const std::shared_ptr<const TagFiles>& files,
                                                                 std::size_t index, std::string_view name,
                                                                 Lifetime lifetime) {
    const auto content = files->content();
    if (!content->view) {
        return Errno{ESTALE};
    }
    const VirtualFileNode file{files, index, directory.root()};
    auto attributes = attributes_of(*content->view, file, unknown_inode);
    if (!attributes.ok()) {
        return Errno{attributes.error};
    }
    const auto identity = identity_of_files(directory, files->generation()).add(name).identity();
    LookedUpEntry entry;
    entry.attributes = attributes.value;
    entry.attributes.inode = inodes_.remember(identity, file);
    // Not for ever, though name and inode stay together within a generation: the way to the directory may be an old
    // handle or working directory, which nothing else makes the kernel ask about again.
    entry.entry_lifetime = lifetime;
    entry.attributes_lifetime = freshness;
    return entry;
}

Outcome<FileAttributes> FileSystem::Implementation::getattr(std::uint64_t inode) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    if (const auto* passed = std::get_if<std::shared_ptr<const PassedThrough>>(&*node)) {
        return FileAttributes{passed_through_attributes((*passed)->info, inode), freshness};
    }
    if (const auto* file = std::get_if<VirtualFileNode>(&*node)) {
        const auto content = file->files->loaded();
        if (!content || !content->view) {
            return Errno{ESTALE};
        }
        const auto attributes = attributes_of(*content->view, *file, inode);
        return attributes.ok() ? Outcome(FileAttributes{attributes.value, freshness}) : Errno{attributes.error};
    }
    const auto* directory = std::get_if<std::shared_ptr<MirroredDirectory>>(&*node);
    const auto path = directory != nullptr ? (*directory)->source()->path() : "";
    const auto info = tree_->source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    if (info->type != FileType::directory) {
        return Errno{ESTALE};
    }
    const bool is_root = directory == nullptr || path == (*directory)->root()->path;
    const auto shown = is_root ? as_reached(path, *info) : as_granted(path, *info);
    if (!shown) {
        return answer(shown.error());
    }
    return FileAttributes{passed_through_attributes(*shown, inode), freshness};
}

Outcome<Attributes> FileSystem::Implementation::attributes_of(const View& view, const VirtualFileNode& file,
                                                              std::uint64_t inode) const {
    const auto size = view.file_size(file.index);
    if (!size) {
        return answer(size.error());
    }
    const auto to_shards = file.files->generation().passages();
    if (!to_shards) {
        return answer(to_shards.error());
    }
    const auto to_file = passages_to(*file.root);
    if (!to_file) {
        return answer(to_file.error());
    }
    const auto info = restricted(restricted(view.file_info(file.index), *to_shards), *to_file);
    return virtual_attributes(info, inode, *size);
}

Outcome<std::string> FileSystem::Implementation::readlink(std::uint64_t inode) {
    const auto node = node_of(inode);
    if (!node) {
        return Errno{ESTALE};
    }
    const auto* passed = std::get_if<std::shared_ptr<const PassedThrough>>(&*node);
    if (passed == nullptr || (*passed)->info.type != FileType::symlink) {
        return Errno{EINVAL};
    }
    return (*passed)->link_text;
}

// Another directory may have taken SOURCE's name, on another file system.
void FileSystem::Implementation::follow_source() const {
    const auto root = tree_->source().stat("");
    struct stat held {};
    if (!root || ::fstat(statistics_descriptor_, &held) != 0 ||
        (held.st_dev == root->stamp.device && held.st_ino == root->stamp.inode)) {
        return;
    }
    int opened = ::open(source_path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened >= 0 && ::fstat(opened, &held) == 0 && held.st_dev == root->stamp.device &&
        held.st_ino == root->stamp.inode) {
        std::swap(statistics_descriptor_, opened);
    }
    if (opened >= 0) {
        ::close(opened);
    }
}

Outcome<FileSystemStatistics> FileSystem::Implementation::statfs() const {
    const std::lock_guard lock(statistics_mutex_);
    follow_source();
    struct statvfs raw {};
    if (::fstatvfs(statistics_descriptor_, &raw) != 0) {
        return answer(Error(ErrorCode::io, "statfs: " + std::generic_category().message(errno), errno));
    }
    FileSystemStatistics statistics;
    statistics.block_nbytes = raw.f_frsize;
    statistics.blocks = raw.f_blocks;
    statistics.free_blocks = raw.f_bfree;
    statistics.available_blocks = raw.f_bavail;
    statistics.files = raw.f_files;
    statistics.free_files = raw.f_ffree;
    statistics.max_name_nbytes = raw.f_namemax;
    return statistics;
}

}  // namespace ckptfs
