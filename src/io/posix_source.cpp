// Names resolved below one descriptor, stamps pinned at open and compared around every read.
#include "io/posix_source.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <system_error>
#include <utility>

#include "io/descriptor_pool.h"
#include "io/directory_writer.h"
#include "io/file_status.h"
#include "io/link_walk.h"
#include "io/renames.h"
#include "io/root_directory.h"
#include "util/checked.h"
#include "util/path.h"
#include "util/permissions.h"

namespace ckptfs::io {
namespace {

constexpr std::size_t largest_pool = 1024;

Error system_error(int failure, const std::string& action, const std::string& name) {
    const std::string sentence = "'" + name + "' cannot be " + action + ": " + std::generic_category().message(failure);
    if (failure == ENOENT || failure == ENOTDIR) {
        return {ErrorCode::not_found, sentence, failure};
    }
    return {ErrorCode::io, sentence, failure};
}

/// For calls that take no directory.
std::string path_of(const UniqueFd& fd) {
    return "/proc/self/fd/" + std::to_string(fd.get());
}

}  // namespace

/// What the source and its files share.
class DirectorySource::State {
 public:
    State(std::shared_ptr<const SystemCalls> calls, std::shared_ptr<RootDirectory> root, std::size_t capacity)
        : calls_(std::move(calls)), root_(std::move(root)), pool_(std::make_shared<DescriptorPool>(capacity)) {}

    [[nodiscard]] const SystemCalls& calls() const { return *calls_; }
    [[nodiscard]] RootDirectory& root() const { return *root_; }
    [[nodiscard]] DescriptorPool& pool() const { return *pool_; }
    [[nodiscard]] std::shared_ptr<const SourceWriter> writer() const { return directory_writer(calls_, root_, pool_); }
    [[nodiscard]] Renames& renames() { return renames_; }
    std::uint64_t next_file() { return files_.fetch_add(1, std::memory_order_relaxed); }

    [[nodiscard]] std::string display(std::string_view path) const {
        const std::string& root = root_->path();
        if (path.empty()) {
            return root;
        }
        if (path.starts_with('/')) {
            return std::string(path);
        }
        return root + (root.ends_with('/') ? "" : "/") + std::string(path);
    }

    /// `path` as the system calls take it.
    [[nodiscard]] Result<const char*> below_root(const std::string& path) const {
        if (leaves_root(path)) {
            return Error(ErrorCode::invalid_argument,
                         "'" + path + "' does not name anything below '" + root_->path() + "'");
        }
        return path.empty() ? "." : path.c_str();
    }

    /// Of the entry itself: a symbolic link at the end of `path` is not followed.
    Result<struct stat> status(const SharedFd& root, const std::string& path) const {
        CKPTFS_ASSIGN(const char* const name, below_root(path));
        struct stat status {};
        const int answer = calls().stat_at(root->get(), name, status, AT_SYMLINK_NOFOLLOW);
        if (answer < 0) {
            return system_error(-answer, "looked up", display(path));
        }
        return status;
    }

    /// Of what `path` leads to; `real` becomes a path of that which is no link. A link is followed here and not by the
    /// kernel: one that leads into this process's own mount would make it wait for itself.
    Result<struct stat> target_status(const SharedFd& root, const std::string& path, std::string& real) const {
        real = path;
        CKPTFS_ASSIGN(struct stat found, status(root, real));
        if (S_ISLNK(found.st_mode)) {
            CKPTFS_ASSIGN(real, follow(root, path));
            CKPTFS_ASSIGN(found, status(root, real));
        }
        if (S_ISLNK(found.st_mode)) {
            return Error(ErrorCode::stale, "'" + display(path) + "' has changed while it was looked up: try again");
        }
        return found;
    }

    [[nodiscard]] Result<std::string> follow(const SharedFd& root, const std::string& path) const {
        CKPTFS_TRY(below_root(path));
        auto target = follow_links(calls(), root->get(), path);
        if (!target) {
            return target.error().within("'" + display(path) + "'");
        }
        return target;
    }

    /// Opens what `path` leads to, and again lets the kernel follow no link.
    Result<UniqueFd> open(const SharedFd& root, const std::string& path, int flags, const std::string& action) {
        CKPTFS_ASSIGN(const char* const name, below_root(path));
        int fd = open_real(root->get(), name, flags);
        if (fd == -ELOOP) {
            CKPTFS_ASSIGN(const std::string real, follow(root, path));
            fd = open_real(root->get(), real.empty() ? "." : real.c_str(), flags);
        }
        if (fd < 0) {
            return system_error(-fd, action, display(path));
        }
        return UniqueFd(fd);
    }

 private:
    /// Opens for reading, never waiting for the other end of a fifo. When the process or the system has no descriptor
    /// left, gives the pool's back and tries again. Whoever has a lease of the file is waited for.
    int open_real(int root, const char* name, int flags) {
        int fd = calls().open_real_at(root, name, flags | O_RDONLY | O_NONBLOCK);
        if (fd == -EMFILE || fd == -ENFILE) {
            pool_->clear();
            fd = calls().open_real_at(root, name, flags | O_RDONLY | O_NONBLOCK);
        }
        for (int pauses = 0; fd == -EAGAIN && pauses < most_pauses; ++pauses) {
            calls().pause();
            fd = calls().open_real_at(root, name, flags | O_RDONLY | O_NONBLOCK);
        }
        return fd;
    }

    const std::shared_ptr<const SystemCalls> calls_;
    const std::shared_ptr<RootDirectory> root_;
    const std::shared_ptr<DescriptorPool> pool_;
    Renames renames_;
    std::atomic<std::uint64_t> files_{0};
};

/// One generation of a file below the directory.
class DirectorySource::PinnedFile final : public File {
 public:
    PinnedFile(std::shared_ptr<State> state, std::string path)
        : state_(std::move(state)), path_(std::move(path)), name_(state_->display(path_)), id_(state_->next_file()) {}

    PinnedFile(const PinnedFile&) = delete;
    PinnedFile& operator=(const PinnedFile&) = delete;
    ~PinnedFile() override { state_->pool().erase(id_); }

    /// Takes the generation that is there now.
    Result<void> pin() {
        CKPTFS_ASSIGN(root_, state_->root().descriptor());
        renames_before_ = state_->renames().count();
        // Asked before it is opened: opening a device can have effects, opening a fifo would wake its writer.
        std::string real;
        CKPTFS_ASSIGN(const struct stat before, state_->target_status(root_, path_, real));
        CKPTFS_TRY(refuse_special(type_of(before.st_mode)));
        CKPTFS_ASSIGN(UniqueFd fd, state_->open(root_, real, O_NOCTTY, "opened"));
        CKPTFS_TRY(stat_descriptor(fd.get(), pinned_));
        CKPTFS_TRY(refuse_special(type_of(pinned_.st_mode)));
        CKPTFS_TRY(make_blocking(fd.get()));
        state_->pool().insert(id_, std::make_shared<const UniqueFd>(std::move(fd)));
        return {};
    }

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return static_cast<std::uint64_t>(pinned_.st_size); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (!fits(offset, out.size(), size())) {
            return Error(ErrorCode::invalid_argument, std::to_string(out.size()) + " bytes from byte " +
                                                          std::to_string(offset) + " of '" + name_ +
                                                          "' were asked for, which has " + std::to_string(size()));
        }
        if (out.empty()) {
            return {};
        }
        CKPTFS_ASSIGN(const SharedFd fd, descriptor());
        while (!out.empty()) {
            const ssize_t count = state_->calls().read_at(fd->get(), out.data(), out.size(), offset);
            if (count == -EINTR) {
                continue;
            }
            if (count < 0) {
                return system_error(static_cast<int>(-count), "read at byte " + std::to_string(offset), name_);
            }
            if (count == 0) {
                CKPTFS_TRY(check_stamp(fd->get()));
                return Error(ErrorCode::damaged, "'" + name_ + "' ends at byte " + std::to_string(offset) +
                                                     ", but its size is " + std::to_string(size()));
            }
            out = out.subspan(static_cast<std::size_t>(count));
            offset += static_cast<std::uint64_t>(count);
        }
        return check_stamp(fd->get());
    }

 private:
    Result<void> refuse_special(FileType type) const {
        if (type == FileType::regular) {
            return {};
        }
        return Error(ErrorCode::unsupported, "'" + name_ + "' is " +
                                                 (type == FileType::directory ? "a directory" : "a special file") +
                                                 ", not a regular file");
    }

    Error changed() const {
        state_->pool().erase(id_);  // nobody will read it again
        return {ErrorCode::stale, "'" + name_ + "' has changed since it was opened: open it again"};
    }

    Error gone_or(const Error& error) const { return error.code() == ErrorCode::not_found ? changed() : error; }

    Result<void> stat_descriptor(int fd, struct stat& status) const {
        const int answer = state_->calls().stat_descriptor(fd, status);
        if (answer < 0) {
            return system_error(-answer, "looked up", name_);
        }
        return {};
    }

    Result<void> check_stamp(int fd) const {
        struct stat status {};
        CKPTFS_TRY(stat_descriptor(fd, status));
        if (!has_same_bytes(status, pinned_)) {
            return changed();
        }
        return {};
    }

    /// A server may have moved a file to tape: reading it is to wait, and not to end with EAGAIN.
    Result<void> make_blocking(int fd) const {
        const int answer = state_->calls().make_blocking(fd);
        if (answer < 0) {
            return system_error(-answer, "made ready for reading", name_);
        }
        return {};
    }

    /// From the pool, or opened again and found to be the pinned generation.
    Result<SharedFd> descriptor() const {
        if (SharedFd pooled = state_->pool().find(id_)) {
            return pooled;
        }
        std::string real;
        const auto status = state_->target_status(root_, state_->renames().follow(path_, renames_before_), real);
        if (!status) {
            return gone_or(status.error());
        }
        if (!has_same_bytes(*status, pinned_)) {
            return changed();
        }
        auto opened = state_->open(root_, real, O_NOCTTY, "opened");
        if (!opened) {
            return gone_or(opened.error());
        }
        UniqueFd fd = std::move(opened).value();
        CKPTFS_TRY(check_stamp(fd.get()));
        CKPTFS_TRY(make_blocking(fd.get()));
        return state_->pool().insert(id_, std::make_shared<const UniqueFd>(std::move(fd)));
    }

    const std::shared_ptr<State> state_;
    const std::string path_;
    const std::string name_;
    const std::uint64_t id_;
    SharedFd root_;  // the directory that the path is relative to
    std::uint64_t renames_before_ = 0;
    struct stat pinned_ {};
};

DirectorySource::DirectorySource(std::shared_ptr<State> state) : state_(std::move(state)) {}

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
    auto state = std::make_shared<State>(std::move(calls), std::move(root), capacity);
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
        return system_error(-answer, "asked for its file system", display(""));
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
    return info_of(status);
}

Result<FileInfo> DirectorySource::stat_target(const std::string& path) const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    std::string real;
    CKPTFS_ASSIGN(const struct stat status, state_->target_status(root, path, real));
    return info_of(status);
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
        return system_error(-answer, "asked for its access control list", display(path));
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
        return system_error(-answer, "listed", display(path));
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
        return system_error(static_cast<int>(-length), "read as a symbolic link", display(path));
    }
    target.resize(static_cast<std::size_t>(length));
    return target;
}

Result<std::string> DirectorySource::resolve(const std::string& path) const {
    CKPTFS_ASSIGN(const SharedFd root, state_->root().descriptor());
    return state_->follow(root, path);
}

Result<std::shared_ptr<const File>> DirectorySource::open(const std::string& path) const {
    auto file = std::make_shared<PinnedFile>(state_, path);
    CKPTFS_TRY(file->pin());
    return std::shared_ptr<const File>(std::move(file));
}

std::size_t DirectorySource::open_descriptors() const {
    return state_->pool().size();
}
std::size_t DirectorySource::descriptor_capacity() const {
    return state_->pool().capacity();
}

}  // namespace ckptfs::io
