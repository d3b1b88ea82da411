// Names resolved below one descriptor.
#include "io/posix_source.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "io/directory_state.h"
#include "io/file_status.h"
#include "io/pinned_file.h"
#include "util/path.h"
#include "util/permissions.h"

namespace ckptfs::io {
namespace {

constexpr std::size_t largest_pool = 1024;

/// For calls that take no directory.
std::string path_of(const UniqueFd& fd) {
    return "/proc/self/fd/" + std::to_string(fd.get());
}

}  // namespace

DirectorySource::DirectorySource(std::shared_ptr<DirectoryState> state) : state_(std::move(state)) {}

Result<std::shared_ptr<const DirectorySource>> DirectorySource::open_directory(std::string path) {
    return open_directory(std::move(path), RootIs::followed);
}

Result<std::shared_ptr<const DirectorySource>> DirectorySource::open_directory(std::string path, RootIs root_is) {
    return open_directory(std::move(path), std::make_shared<const SystemCalls>(), least_descriptors, root_is);
}

std::shared_ptr<const SourceWriter> DirectorySource::writer() const {
    return state_->writer();
}

Result<std::shared_ptr<const DirectorySource>> DirectorySource::open_directory(std::string path,
                                                                               std::shared_ptr<const SystemCalls> calls,
                                                                               std::uint64_t least, RootIs root_is) {
    const std::uint64_t limit = calls->raise_descriptor_limit();
    if (limit < least) {
        return Error(ErrorCode::io,
                     "this process may have " + std::to_string(limit) + " files open, and needs " +
                         std::to_string(least) + ": raise the limit (ulimit -n)",
                     EMFILE);
    }
    CKPTFS_ASSIGN(auto root, RootDirectory::open(std::move(path), calls, root_is));
    const std::size_t capacity = std::min<std::uint64_t>(limit / 2, largest_pool);
    auto state = std::make_shared<DirectoryState>(std::move(calls), std::move(root), capacity);
    return std::shared_ptr<const DirectorySource>(new DirectorySource(std::move(state)));
}

std::string DirectorySource::display(std::string_view path) const {
    return state_->display(path);
}

void DirectorySource::refresh() const {
    state_->root().refresh();
}

void DirectorySource::release_unused() const {
    state_->pool().close_unused();
}

void DirectorySource::note_rename(const std::string& from, const std::string& to, bool exchanged) const {
    state_->renames().note(from, to, exchanged);
}

Result<SourceStatistics> DirectorySource::statistics() const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    struct statvfs raw {};
    if (const int answer = state_->calls().statistics(root->get(), raw); answer < 0) {
        return failed_to("asked for its file system", display(""), -answer);
    }
    return SourceStatistics{.block_nbytes = raw.f_frsize,
                            .blocks = raw.f_blocks,
                            .free_blocks = raw.f_bfree,
                            .available_blocks = raw.f_bavail,
                            .files = raw.f_files,
                            .free_files = raw.f_ffree,
                            .max_name_nbytes = raw.f_namemax};
}

Result<FileInfo> DirectorySource::stat(const std::string& path) const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    CKPTFS_ASSIGN(const struct stat status, state_->status(root, path));
    return info_of(status, state_->inodes_may_change(root, status.st_dev));
}

Result<FileInfo> DirectorySource::stat_target(const std::string& path) const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    std::string real;
    CKPTFS_ASSIGN(const struct stat status, state_->target_status(root, path, real));
    return info_of(status, state_->inodes_may_change(root, status.st_dev));
}

Result<std::uint32_t> DirectorySource::granted_mode(const std::string& path, const FileInfo& info) const {
    CKPTFS_TRY(state_->below_root(path));
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    std::vector<std::byte> acl;
    const auto ask = [&](const std::string& entry) {
        const std::string below = join_path(path_of(*root), entry.empty() ? "." : entry);
        return state_->calls().access_acl(entry.starts_with('/') ? entry : below, acl);
    };
    int answer = ask(path);
    if (answer == -ELOOP) {
        CKPTFS_ASSIGN(const std::string real, state_->follow(root, path));
        answer = ask(real);
    }
    if (answer == -ENODATA || answer == -EOPNOTSUPP) {
        return info.mode;
    }
    if (answer < 0) {
        return failed_to("asked for its access control list", display(path), -answer);
    }
    return mode_under_acl(info.mode, acl);
}

Result<std::vector<FileInfo>> DirectorySource::way_to(const std::string& path) const {
    std::vector<FileInfo> way;
    const auto add = [&](const std::string& directory) -> Result<void> {
        CKPTFS_ASSIGN(FileInfo info, stat(directory));
        CKPTFS_ASSIGN(info.mode, granted_mode(directory, info));
        way.push_back(info);
        return {};
    };
    std::string at = path;
    if (path.empty()) {
        CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
        CKPTFS_ASSIGN(at, read_link(path_of(*root)));
    }
    const std::string top = at.starts_with('/') ? "/" : "";
    while (at != top) {
        const std::size_t slash = at.rfind('/');
        at.resize(slash == std::string::npos ? 0 : std::max(slash, top.size()));
        CKPTFS_TRY(add(at));
    }
    return way;
}

Result<std::vector<DirectoryEntry>> DirectorySource::list(const std::string& path) const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    CKPTFS_ASSIGN(UniqueFd directory, state_->open(root, path, O_DIRECTORY, "listed"));
    std::vector<SystemCalls::RawEntry> raw;
    const int answer = state_->calls().list(directory.release(), raw);
    if (answer < 0) {
        return failed_to("listed", display(path), -answer);
    }
    std::vector<DirectoryEntry> entries;
    entries.reserve(raw.size());
    for (SystemCalls::RawEntry& entry : raw) {
        if (entry.name == "." || entry.name == "..") {
            continue;
        }
        FileType type = type_of(static_cast<mode_t>(DTTOIF(entry.type)));
        if (entry.type == DT_UNKNOWN) {
            const auto info = stat(path.empty() ? entry.name : path + "/" + entry.name);
            if (!info.ok() && info.error().code() == ErrorCode::not_found) {
                continue;  // gone since the directory was read
            }
            if (!info.ok()) {
                return info.error();
            }
            type = info->type;
        }
        entries.push_back({std::move(entry.name), type});
    }
    std::sort(entries.begin(), entries.end(),
              [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
    return entries;
}

Result<std::string> DirectorySource::read_link(const std::string& path) const {
    CKPTFS_ASSIGN(const char* const name, state_->below_root(path));
    std::string target(PATH_MAX, '\0');
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    const ssize_t length = state_->calls().read_link_at(root->get(), name, target.data(), target.size());
    if (length < 0) {
        return failed_to("read as a symbolic link", display(path), static_cast<int>(-length));
    }
    target.resize(static_cast<std::size_t>(length));
    return target;
}

Result<std::string> DirectorySource::resolve(const std::string& path) const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    return state_->follow(root, path);
}

Result<std::shared_ptr<const File>> DirectorySource::open(const std::string& path) const {
    return pin_file(state_, path);
}

std::size_t DirectorySource::open_descriptors() const {
    return state_->pool().size();
}
std::size_t DirectorySource::descriptor_capacity() const {
    return state_->pool().capacity();
}

}  // namespace ckptfs::io
